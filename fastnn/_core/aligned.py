"""Arrays that begin where kernels like it, with room to read beyond their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

CACHE_LINE = 64
PAGE_BYTES = 4096
LARGE_BYTES = 32768
# What a kernel may read (and never use) beyond the last element of a buffer.
SLACK_BYTES = 64


def aligned_empty(count: int, dtype: DTypeLike) -> NDArray:
    """An uninitialized array at the start of a cache line, with slack to read beyond its end.

    A large one starts on a page (fastnn/_compiler/memory.py tells why).
    """
    dtype = np.dtype(dtype)
    alignment = CACHE_LINE if count * dtype.itemsize < LARGE_BYTES else PAGE_BYTES
    raw = np.empty(count * dtype.itemsize + alignment + SLACK_BYTES, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + count * dtype.itemsize].view(dtype)


def aligned_zeros(count: int, dtype: DTypeLike) -> NDArray:
    """As `aligned_empty`, all zero."""
    array = aligned_empty(count, dtype)
    array[:] = 0
    return array
