"""Checks of arguments that several parts of the package make."""

from __future__ import annotations

import math
import numbers
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_array(data: Any) -> NDArray[Any]:
    """What a caller gave, as an array: here all data come in.

    Raises
    ------
    ValueError
        For a masked array, or a list of some, in which anything is masked: the values under the
        mask would count as any others. For lists of different lengths.
    """
    parts = data if isinstance(data, (list, tuple)) else (data,)
    for part in parts:
        if isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part):
            count = int(np.ma.count_masked(part))
            raise ValueError(
                f"got a masked array of shape {part.shape} with {count} value{'s' * (count > 1)} "
                "masked, expected an array without: fill them in (array.filled(value)) or leave "
                "these examples out"
            )
    try:
        return np.asarray(data)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            "got lists or arrays of different lengths or shapes, expected what makes an array"
        ) from None


def to_reals(name: str, data: Any) -> NDArray[Any]:
    """What a caller gave as an array of real numbers, in whatever precision.

    Raises
    ------
    TypeError
        For anything else, such as complex numbers, whose imaginary parts would be lost.
    ValueError
        As `to_array`.
    """
    try:
        array = to_array(data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: got dtype {array.dtype}, expected real numbers")
    return array


def whole(name: str, value: Any, least: int, most: int | None = None, where: str = "") -> int:
    """`value` as an int; ValueError unless it is a whole number in the range (2.0 is one too)."""
    limits = f"of {least} or more" if most is None else f"from {least} to {most}"
    try:
        is_float = isinstance(value, float) and value.is_integer()
        number = int(value) if is_float else operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        raise ValueError(f"{where}got {name}={value!r}, expected a whole number {limits}")
    return number


def check_sizes(layer: str, **sizes: Any) -> None:
    """ValueError unless all sizes of a layer are integers of 1 or more."""
    for name, size in sizes.items():
        if not is_whole(size, 1):
            raise ValueError(f"{layer}: got {name}={size!r}, expected a whole number of 1 or more")


def is_number(thing: Any) -> bool:
    """Whether it is a plain real number, NumPy's included."""
    return isinstance(thing, numbers.Real) and not isinstance(thing, bool)


def in_range(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """`value` as a float; ValueError unless it is a number of the range, whose ends count."""
    if not (is_number(value) and least <= value <= most):
        limits = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
        raise ValueError(f"got {name}={value!r}, expected {limits}")
    return float(value)


def above_zero(name: str, value: Any) -> float:
    """`value` as a float; ValueError unless it is a number above 0 (infinity is one)."""
    if not (is_number(value) and value > 0):
        raise ValueError(f"got {name}={value!r}, expected a number above 0")
    return float(value)


def is_whole(number: Any, least: int) -> bool:
    """Whether it is a whole number of `least` or more."""
    is_integer = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    return is_integer and int(number) >= least


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """One number for both axes, or one for each: (height, width)."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(numbers) != 2 or not all(is_whole(n, least) for n in numbers):
        raise ValueError(
            f"got {name}={value!r}, expected a whole number of {least} or more, or two of them"
        )
    return int(numbers[0]), int(numbers[1])
