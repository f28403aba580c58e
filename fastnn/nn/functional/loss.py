"""Losses."""

from __future__ import annotations

import operator
from typing import Any

from fastnn._checks import in_range
from fastnn._compiler.graph import LABEL_DTYPE, Value
from fastnn._compiler.operators.loss import REDUCTIONS
from fastnn.nn.functional.record import computes_on_arrays, constant


def check_reduction(reduction: str) -> str:
    """'mean', 'sum' or 'none'; ValueError for anything else."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"got reduction {reduction!r}, expected one of {list(REDUCTIONS)}")
    return reduction


@computes_on_arrays("input", "target")
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """``-log softmax(input)[target]``, with PyTorch's class weights, smoothing and reductions.

    Parameters
    ----------
    input : (batch, classes)
        Logits.
    target : (batch,)
        Integer labels.
    weight : (classes,), optional
        How much each class counts; "mean" divides by the sum of what counted.
    ignore_index : int, default=-100
        Rows with this label don't count.
    reduction : {"mean", "sum", "none"}, default="mean"
    label_smoothing : float, default=0
        The share of the target that is spread over all classes.

    Returns
    -------
    number, or (batch,)
        By `reduction`.

    Raises
    ------
    ValueError
        If shapes don't fit, a label is out of range, `label_smoothing` is not from 0 to 1, or
        `reduction` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> round(float(F.cross_entropy(np.zeros((1, 10)), np.array([3]))), 4)
    2.3026
    """
    graph = input.graph
    outputs = graph.record(
        "cross_entropy",
        [input, as_labels(target), constant(graph, weight)],
        ignore_index=operator.index(ignore_index),
        reduction=check_reduction(reduction),
        label_smoothing=in_range("label_smoothing", label_smoothing, 0, 1),
    )
    graph.metrics.setdefault("statistics", outputs[-1])
    return outputs[0]


def as_labels(target: Value) -> Value:
    """An input of whole numbers, whatever it came as."""
    if target.source is not None and target.producer is None and target.example_shape == ():
        target.dtype = LABEL_DTYPE
    return target


@computes_on_arrays("input", "target")
def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    reduction: str = "mean",
) -> Any:
    """``sum over j != target of max(0, margin - x[target] + x[j])**p / classes``.

    Parameters
    ----------
    input : (batch, classes)
        Scores.
    target : (batch,)
        Integer labels.
    p : {1, 2}, default=1
    margin : float, default=1
    weight : (classes,), optional
        A factor by the target's class.
    reduction : {"mean", "sum", "none"}, default="mean"

    Returns
    -------
    number, or (batch,)
        By `reduction`.

    Raises
    ------
    ValueError
        If shapes don't fit, a label is out of range, `p` is neither 1 nor 2, or `reduction` is
        unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> float(F.multi_margin_loss(np.array([[1.0, 0.5, 3.0]]), np.array([0])))  # (0.5 + 3) / 3
    1.1666666666666667
    """
    if p not in (1, 2):
        raise ValueError(f"got p={p}, expected 1 or 2")
    graph = input.graph
    outputs = graph.record(
        "multi_margin",
        [input, as_labels(target), constant(graph, weight)],
        p=int(p),
        margin=float(margin),
        reduction=check_reduction(reduction),
    )
    graph.metrics.setdefault("statistics", outputs[-1])
    return outputs[0]


@computes_on_arrays("input", "target")
def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """``(input - target)**2``

    Parameters
    ----------
    input, target : (batch, ...)
    reduction : {"mean", "sum", "none"}, default="mean"

    Returns
    -------
    number, or the input's shape
        By `reduction`.

    Raises
    ------
    ValueError
        If the shapes differ, or `reduction` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> float(F.mse_loss(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])))
    2.5
    """
    return input.graph.record(
        "squared_error", [input, target], reduction=check_reduction(reduction)
    )[0]


@computes_on_arrays("input", "target")
def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    pos_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    """``-(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x)))``, computed without overflow.

    Parameters
    ----------
    input : (batch, columns)
        Logits.
    target : (batch, columns)
        From 0 to 1.
    weight : (columns,), optional
        How much each column counts.
    pos_weight : (columns,), optional
        How much the first term counts.
    reduction : {"mean", "sum", "none"}, default="mean"

    Returns
    -------
    number, or the input's shape
        By `reduction`.

    Raises
    ------
    ValueError
        If shapes don't fit, or `reduction` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> logits, target = np.array([[0.0]]), np.array([[1.0]])
    >>> round(float(F.binary_cross_entropy_with_logits(logits, target)), 4)
    0.6931
    """
    graph = input.graph
    return graph.record(
        "binary_cross_entropy",
        [input, target, constant(graph, weight), constant(graph, pos_weight)],
        reduction=check_reduction(reduction),
    )[0]
