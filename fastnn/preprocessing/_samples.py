"""A few samples at a time: data are never copied whole, nor summed in another order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# 2 MiB of float64: large enough to amortize the loop, small enough to stay in a cache.
CHUNK_ELEMENTS = 2**18


def chunks(X: NDArray[Any], dtype: DTypeLike = np.float64) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield start index and a new array of the next few samples."""
    step = max(1, CHUNK_ELEMENTS // max(1, math.prod(X.shape[1:])))
    for start in range(0, len(X), step):
        # In C order, so that sums are rounded the same whatever the memory layout of X.
        yield start, X[start : start + step].astype(dtype, order="C")


def check_content(X: NDArray[Any], where: str) -> None:
    """ValueError for what no statistics can be learned from: nothing, NaN and infinity."""
    if X.size == 0:
        raise ValueError(
            f"{where}: expected at least one sample and one feature, "
            f"got X of shape {X.shape}, which is empty"
        )
    count = 0
    first: tuple[int, ...] | None = None
    for start, part in chunks(X, dtype=X.dtype) if X.dtype.kind == "f" else ():
        bad = ~np.isfinite(part)
        if first is None and bad.any():
            row, *rest = map(int, np.unravel_index(int(bad.argmax()), bad.shape))
            first = (start + row, *rest)
        count += int(np.count_nonzero(bad))
    if first is not None:
        raise ValueError(
            f"{where}: expected finite numbers, got {count} NaN or infinite "
            f"of {X.size}; the first is {X[first]} at index {first}"
        )
