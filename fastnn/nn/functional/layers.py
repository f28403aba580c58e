"""Functions of any features: layers, activations, what joins values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastnn._compiler.graph import Value
from fastnn._compiler.layout import seen_shape
from fastnn.nn.functional.record import (
    computes_on_arrays,
    constant,
    in_graph,
    new_salt,
    weight_in_graph,
)
from fastnn.nn.parameter import Parameter


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
    """
    graph = input.graph
    weight = weight_in_graph(graph, weight, (1, 0))
    return graph.record("linear", [input, weight, weight_in_graph(graph, bias, (0,))])[0]


def activation(input: Value, kind: str, slope: float = 0.0) -> Value:
    """An activation of fixed form."""
    return input.graph.record("activation", [input], kind=kind, slope=float(slope))[0]


@computes_on_arrays("input")
def relu(input: Any) -> Any:
    """``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    input : array_like

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    return activation(input, "relu")


@computes_on_arrays("input")
def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """``x`` where positive, else ``negative_slope * x``.

    Parameters
    ----------
    input : array_like
    negative_slope : float, default=0.01

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    # The kernel finds the gradient from the output, which tells on which side of zero x was only
    # for a slope above zero; another slope takes the kernel of PReLU.
    if negative_slope > 0:
        return activation(input, "leaky_relu", negative_slope)
    slope = constant(input.graph, [negative_slope])
    return input.graph.record("prelu", [input, slope])[0]


@computes_on_arrays("input")
def sigmoid(input: Any) -> Any:
    """``1 / (1 + exp(-x))``

    Parameters
    ----------
    input : array_like

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    return activation(input, "sigmoid")


@computes_on_arrays("input")
def tanh(input: Any) -> Any:
    """``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``

    Parameters
    ----------
    input : array_like

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    return activation(input, "tanh")


@computes_on_arrays("input")
def elu(input: Any, alpha: Any = 1.0) -> Any:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    input : array_like
    alpha : float, or Parameter (1,)

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    if isinstance(alpha, Parameter):
        return input.graph.record("elu", [input, in_graph(input.graph, alpha)])[0]
    if alpha > 0:
        return activation(input, "elu", alpha)
    return input.graph.record("elu", [input, constant(input.graph, [alpha])])[0]


def as_image(input: Value) -> Value:
    """(batch, channels, length) as images of one row: by channels is by axis 1, as in PyTorch."""
    if len(input.shape) != 2:
        return input
    channels, length = input.shape
    return input.graph.record("reshape", [input], shape=(channels, 1, length))[0]


def like(output: Value, input: Value) -> Value:
    """What `as_image` changed, changed back."""
    if len(input.shape) != 2:
        return output
    return output.graph.record("reshape", [output], shape=input.shape)[0]


@computes_on_arrays("input")
def prelu(input: Any, weight: Any) -> Any:
    """``x`` where positive, else ``weight * x``.

    Parameters
    ----------
    input : (batch, channels, ...)
    weight : (1,) or (channels,)

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    inputs = [as_image(input), weight_in_graph(input.graph, weight, (0,))]
    return like(input.graph.record("prelu", inputs)[0], input)


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
    """
    return input.graph.record("maxout", [input], pieces=int(pieces))[0]


def require_last(name: str, input: Value, dim: int) -> None:
    """ValueError unless `dim`, counted with the batch, is the last axis."""
    if dim not in (-1, len(input.shape)):
        raise ValueError(
            f"{name}: got dim={dim} for {('batch', *seen_shape(input))}, expected the last axis, -1"
        )


@computes_on_arrays("input")
def softmax(input: Any, dim: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` over the last axis.

    Parameters
    ----------
    input : array_like
    dim : int, default=-1
        Must be the last axis.

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    require_last("softmax", input, dim)
    return input.graph.record("softmax", [input], log=False)[0]


@computes_on_arrays("input")
def log_softmax(input: Any, dim: int = -1) -> Any:
    """``x - log(sum(exp(x)))`` over the last axis.

    Parameters
    ----------
    input : array_like
    dim : int, default=-1
        Must be the last axis.

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    require_last("log_softmax", input, dim)
    return input.graph.record("softmax", [input], log=True)[0]


@computes_on_arrays("input")
def flatten(input: Any, start_dim: int = 1, end_dim: int = -1) -> Any:
    """Joins neighbouring axes, in PyTorch's order.

    Parameters
    ----------
    input : array_like
    start_dim, end_dim : int
        The first and the last that are joined; the batch, axis 0, stays by itself.

    Returns
    -------
    ndarray
    """
    given = seen_shape(input)
    axes = len(given) + 1
    start, end = (dim + axes if dim < 0 else dim for dim in (start_dim, end_dim))
    if axes == 1 and (start_dim, end_dim) == (1, -1):
        start, end = 1, 0  # (batch,) to (batch, 1)
    elif not 1 <= start <= end < axes:
        raise ValueError(
            f"flatten: got start_dim={start_dim}, end_dim={end_dim} for "
            f"{('batch', *given)}, expected axes after the batch in order"
        )
    joined = math.prod(given[start - 1 : end])
    shape = (*given[: start - 1], joined, *given[end:])
    return input.graph.record("reshape", [input], shape=shape)[0]


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
    """
    values = list(inputs)
    return values[0].graph.record("concatenate", values)[0]


@computes_on_arrays("input")
def dropout(input: Any, p: float = 0.5, training: bool = True) -> Any:
    """In training, zero with probability `p`, else ``x / (1 - p)``; the input itself otherwise.

    Parameters
    ----------
    input : array_like
    p : float, default=0.5
        From 0 to 1.
    training : bool, default=True

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    if not training or p == 0:
        return input
    return input.graph.record("dropout", [input], p=float(p), salt=new_salt(input.graph))[0]


@computes_on_arrays("input")
def batch_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    batches_tracked: Any = None,
) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` by channel (axis 1).

    In training, and where there are no running averages, mean and variance are the batch's, and
    the running averages move by `momentum` towards them.

    Parameters
    ----------
    input : (batch, channels, ...)
    running_mean, running_var : (channels,), optional
        Used in inference; written to in training.
    weight, bias : (channels,), optional
    training : bool, default=False
    momentum : float or None, default=0.1
        How far the running averages move; None for the mean of all batches.
    eps : float, default=1e-5
    batches_tracked : int64 array of one number, optional
        Counts the batches; needed where `momentum` is None.

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    graph = input.graph
    use_batch = training or running_mean is None
    values = [
        as_image(input),
        weight_in_graph(graph, weight, (0,)),
        weight_in_graph(graph, bias, (0,)),
        in_graph(graph, running_mean),
        in_graph(graph, running_var),
        None if batches_tracked is None else in_graph(graph, batches_tracked),
    ]
    attributes = {"training": use_batch, "momentum": momentum, "eps": float(eps)}
    return like(graph.record("batchnorm", values, **attributes)[0], input)
