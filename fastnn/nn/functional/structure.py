"""What gives values another shape, or joins them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn._compiler.graph import Value
from fastnn.nn.functional.record import computes_on_arrays


@computes_on_arrays("input")
def flatten(input: Any, start_dim: int = 1, end_dim: int = -1) -> Any:
    """Joins neighbouring axes, in PyTorch's order.

    Parameters
    ----------
    input : array_like
    start_dim : int, default=1
    end_dim : int, default=-1
        The first and the last that are joined; the batch, axis 0, stays by itself.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the axes are not there, not in order, or the batch is among them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.flatten(np.zeros((5, 3, 4, 2))).shape
    (5, 24)
    """
    return input.flatten(start_dim, end_dim)


@computes_on_arrays("inputs")
def concatenate(inputs: Sequence[Any]) -> Any:
    """The inputs beside each other along the last axis; images by channels.

    Parameters
    ----------
    inputs : sequence of array_like
        Alike in all other axes.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the inputs differ in more than the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.concatenate([np.zeros((5, 3)), np.ones((5, 2))]).shape
    (5, 5)
    """
    values = list(inputs)
    return values[0].graph.record("concatenate", values)[0]


def as_image(input: Value) -> Value:
    """(batch, channels, length) as images of one row: by channels is by axis 1, as in PyTorch."""
    if len(input.example_shape) != 2:
        return input
    channels, length = input.example_shape
    return input.graph.record("reshape", [input], shape=(channels, 1, length))[0]


def like(output: Value, input: Value) -> Value:
    """What `as_image` changed, changed back."""
    if len(input.example_shape) != 2:
        return output
    return output.graph.record("reshape", [output], shape=input.example_shape)[0]
