"""What `fit`, `evaluate` and `predict` are given, as arrays in the model's precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array
from fastnn.datasets import Augment, train_test_split
from fastnn.datasets._augment import images_to_augment
from fastnn.nn.execution import map_data

if TYPE_CHECKING:
    from numpy.typing import NDArray


def convert(data: Any, dtype: np.dtype | None, copies: bool = True) -> Any:
    """Data as arrays; with `copies` in the model's precision, once for all epochs."""

    def converted(item: Any) -> NDArray:
        array = to_array(item)
        if not copies:
            return array
        if dtype is None and array.dtype.kind in "iub" and array.dtype != np.uint64:
            return np.ascontiguousarray(array, np.int64)
        if array.dtype.kind in "biuf":  # uint64 as it is: the program sees what does not fit
            return np.ascontiguousarray(array, dtype or array.dtype)
        return array

    return map_data(converted, data)


def rows_of(data: Any, rows: Any) -> Any:
    """Some rows of an array, or of each array in a structure of them."""
    return map_data(lambda array: array[rows], data)


def training_data(
    X: Any,
    y: Any,
    dtype: np.dtype,
    augment: Augment | None,
    validation_data: Any,
    validation_split: float,
    rng: np.random.Generator,
) -> tuple[Any, Any, Any]:
    """Inputs, targets and the pair to validate with (or None), of what `Trainer.fit` was given."""
    inputs = convert(X, dtype) if augment is None else images_to_augment(X, augment)
    targets = convert(y, None)
    if validation_split:
        inputs, targets, validation_data = split(
            inputs, targets, validation_data, validation_split, rng
        )
    if validation_data is None:
        return inputs, targets, None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError("validation_data: expected a pair (X, y)")
    held, held_targets = validation_data
    if augment is not None and getattr(held, "dtype", None) == np.uint8:
        held = augment.normalize(held, dtype)
    return inputs, targets, (convert(held, dtype), convert(held_targets, None))


def split(inputs: Any, targets: Any, validation_data: Any, share: float, rng: Any) -> tuple:
    """Sets a share of the data aside for validation."""
    if validation_data is not None:
        raise ValueError("got validation_data and validation_split, expected one of them")
    if not 0 < share < 1:
        raise ValueError(f"got validation_split={share}, expected a share between 0 and 1")
    if not isinstance(inputs, np.ndarray) or not isinstance(targets, np.ndarray):
        raise TypeError("validation_split takes single arrays; give validation_data")
    X, X_held, y, y_held = train_test_split(
        inputs, targets, share, seed=int(rng.integers(2**31)), stratify=False
    )
    return X, y, (X_held, y_held)
