"""Checks of arguments that several parts of the package make."""

from __future__ import annotations

import operator
from typing import Any


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
