"""Fully connected layers."""

from __future__ import annotations

from typing import Any

from fastnn._checks import whole
from fastnn.nn.functional.record import computes_on_arrays, weight_in_graph


@computes_on_arrays("input")
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """``input @ weight.T + bias``.

    Parameters
    ----------
    input : (batch, ..., in)
    weight : (out, in)
    bias : (out,), optional

    Returns
    -------
    (batch, ..., out)

    Raises
    ------
    ValueError
        If the shapes don't fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.linear(np.array([[1.0, 2.0]]), np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([0.5, 0.0]))
    array([[ 3.5, -1. ]])
    """
    graph = input.graph
    weight = weight_in_graph(graph, weight, (1, 0))
    return graph.record("linear", [input, weight, weight_in_graph(graph, bias, (0,))])[0]


@computes_on_arrays("input")
def maxout(input: Any, pieces: int) -> Any:
    """The largest of some pieces, element by element.

    Parameters
    ----------
    input : (batch, pieces * n)
        The pieces lie one after the other.
    pieces : int

    Returns
    -------
    (batch, n)

    Raises
    ------
    ValueError
        If `pieces` is no whole number of 1 or more, or the features are no multiple of it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.maxout(np.array([[1.0, 5.0, 3.0, 4.0]]), pieces=2)
    array([[3., 5.]])
    """
    return input.graph.record("maxout", [input], pieces=whole("pieces", pieces, 1))[0]
