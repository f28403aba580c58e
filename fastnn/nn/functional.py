"""Operators as functions.

On traced values (inside a ``forward``) they record a node; on NumPy arrays they compute at once.
Weights may be `Parameter` objects or arrays, in PyTorch's shapes.

Examples
--------
>>> import numpy as np
>>> from fastnn.nn import functional as F
>>> F.relu(np.array([[-1.0, 2.0]]))
array([[0., 2.]])
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._compiler.graph import Buffer, Graph, Value
from fastnn._compiler.operators.base import REDUCTIONS
from fastnn._core.program import aligned_zeros
from fastnn.nn.parameter import Parameter

__all__ = [
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "concatenate",
    "cross_entropy",
    "dropout",
    "elu",
    "flatten",
    "leaky_relu",
    "linear",
    "log_softmax",
    "maxout",
    "mse_loss",
    "multi_margin_loss",
    "prelu",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]


def computes_on_arrays(*batched: str) -> Callable[[Callable], Callable]:
    """Makes a recording function compute at once where its batched arguments are arrays."""

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def either(*args: Any, **options: Any) -> Any:
            bound = signature.bind(*args, **options)
            inputs = [bound.arguments[name] for name in batched if name in bound.arguments]
            leaves = [leaf for item in inputs for leaf in as_list(item)]
            if any(isinstance(leaf, Value) for leaf in leaves):
                return function(*args, **options)
            return compute(function, bound.arguments, batched)

        return either

    return decorate


def as_list(item: Any) -> Sequence[Any]:
    """The operands of a function that takes one or several."""
    return item if isinstance(item, (tuple, list)) else [item]


def compute(function: Callable, arguments: dict[str, Any], batched: tuple[str, ...]) -> Any:
    """Runs a recording function on arrays, as a module of one operator."""
    from fastnn.nn.module import Module  # module.py and this file need each other

    inputs = tuple(arguments[name] for name in batched if name in arguments)
    names = [name for name in batched if name in arguments]
    others = {name: value for name, value in arguments.items() if name not in batched}

    class Once(Module):
        def forward(self, *values: Any) -> Any:
            return function(**dict(zip(names, values, strict=True)), **others)

    return Once()(*inputs)


def in_graph(graph: Graph, thing: Any) -> Value | None:
    """A parameter, buffer or array as a value of the graph."""
    if thing is None or isinstance(thing, Value):
        return thing
    if isinstance(thing, Parameter):
        if thing.dtype != graph.dtype:
            raise TypeError(
                f"got a parameter of {thing.dtype} in a network of {graph.dtype}; convert the "
                "whole module with astype"
            )
        return graph.source(thing, thing.shape)
    # A kernel reads, and may write, the array itself: it has to be what the kernel takes it for.
    array = np.asarray(thing)
    dtype = "int64" if array.ndim == 0 and array.dtype == np.int64 else graph.dtype
    if array.dtype != dtype or not array.flags.carray:
        raise TypeError(
            f"got an array of {array.dtype} of shape {array.shape}, expected a writeable, "
            f"C-contiguous one of {dtype} like the network; convert a module with astype"
        )
    return graph.source(Buffer(array), array.shape, dtype)


def constant(graph: Graph, values: Any) -> Value | None:
    """An array that the operator reads, copied into memory of the right precision."""
    if values is None:
        return None
    array = np.asarray(values, dtype=graph.dtype)
    copy = aligned_zeros(array.size, graph.dtype).reshape(array.shape)
    copy[...] = array
    return graph.source(Buffer(copy), copy.shape)


def weight_in_graph(graph: Graph, weight: Any, storage_axes: tuple[int, ...]) -> Value | None:
    """A parameter; an array is taken for one that nobody trains."""
    if weight is None or isinstance(weight, (Value, Parameter)):
        return in_graph(graph, weight)
    parameter = Parameter(np.asarray(weight, dtype=graph.dtype), False, storage_axes)
    return graph.source(parameter, parameter.shape)


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
    """``max(x, 0)``; NaN stays NaN."""
    return activation(input, "relu")


@computes_on_arrays("input")
def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """``x`` where positive, else ``negative_slope * x``.

    The gradient is found from the output, which tells on which side of zero x was only for a
    slope above zero; another slope takes the kernel of PReLU.
    """
    if negative_slope > 0:
        return activation(input, "leaky_relu", negative_slope)
    slope = constant(input.graph, [negative_slope])
    return input.graph.record("prelu", [input, slope])[0]


@computes_on_arrays("input")
def sigmoid(input: Any) -> Any:
    """``1 / (1 + exp(-x))``"""
    return activation(input, "sigmoid")


@computes_on_arrays("input")
def tanh(input: Any) -> Any:
    """``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``"""
    return activation(input, "tanh")


@computes_on_arrays("input")
def elu(input: Any, alpha: Any = 1.0) -> Any:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``; `alpha` a number or a parameter (1,)."""
    if isinstance(alpha, Parameter):
        return input.graph.record("elu", [input, in_graph(input.graph, alpha)])[0]
    if alpha > 0:
        return activation(input, "elu", alpha)
    return input.graph.record("elu", [input, constant(input.graph, [alpha])])[0]


def refuse_sequences(name: str, input: Value) -> None:
    """ValueError for (batch, channels, length): PyTorch's channels are axis 1, ours the last."""
    if len(input.shape) == 2:
        raise ValueError(
            f"{name}: got an input of shape {('batch', *input.shape)}, expected (batch, channels)"
        )


@computes_on_arrays("input")
def prelu(input: Any, weight: Any) -> Any:
    """``x`` where positive, else ``weight * x``; `weight` (1,) or one for each channel."""
    if weight.shape != (1,):
        refuse_sequences("prelu", input)
    return input.graph.record("prelu", [input, weight_in_graph(input.graph, weight, (0,))])[0]


@computes_on_arrays("input")
def maxout(input: Any, pieces: int) -> Any:
    """The largest of `pieces` consecutive blocks of features: (batch, pieces * n) to (batch, n)."""
    return input.graph.record("maxout", [input], pieces=int(pieces))[0]


def require_last(name: str, input: Value, dim: int) -> None:
    """ValueError unless `dim`, counted with the batch, is the last axis."""
    if dim not in (-1, len(input.shape)):
        raise ValueError(
            f"{name}: got dim={dim} for {('batch', *input.shape)}, expected the last axis, -1"
        )


@computes_on_arrays("input")
def softmax(input: Any, dim: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` over the last axis."""
    require_last("softmax", input, dim)
    return input.graph.record("softmax", [input], log=False)[0]


@computes_on_arrays("input")
def log_softmax(input: Any, dim: int = -1) -> Any:
    """``x - log(sum(exp(x)))`` over the last axis."""
    require_last("log_softmax", input, dim)
    return input.graph.record("softmax", [input], log=True)[0]


@computes_on_arrays("input")
def flatten(input: Any, start_dim: int = 1, end_dim: int = -1) -> Any:
    """Joins the axes from `start_dim` to `end_dim`, in PyTorch's order; the batch is axis 0."""
    axes = len(input.shape) + 1
    start, end = (dim + axes if dim < 0 else dim for dim in (start_dim, end_dim))
    if axes == 1 and (start_dim, end_dim) == (1, -1):
        start, end = 1, 0  # (batch,) to (batch, 1)
    elif not 1 <= start <= end < axes:
        raise ValueError(
            f"flatten: got start_dim={start_dim}, end_dim={end_dim} for "
            f"{('batch', *input.shape)}, expected axes after the batch in order"
        )
    joined = math.prod(input.shape[start - 1 : end])
    shape = (*input.shape[: start - 1], joined, *input.shape[end:])
    return input.graph.record("reshape", [input], shape=shape)[0]


@computes_on_arrays("inputs")
def concatenate(inputs: Sequence[Any]) -> Any:
    """The inputs beside each other along the last axis."""
    values = list(inputs)
    return values[0].graph.record("concatenate", values)[0]


@computes_on_arrays("input")
def dropout(input: Any, p: float = 0.5, training: bool = True) -> Any:
    """In training, zero with probability `p`, else ``x / (1 - p)``; the input itself otherwise."""
    if not training or p == 0:
        return input
    # The salt tells the masks of a run apart; counted by graph, so that a seed repeats a run.
    salt = 1 + sum(node.operator.name == "dropout" for node in input.graph.nodes)
    return input.graph.record("dropout", [input], p=float(p), salt=salt)[0]


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
    """``(x - mean) / sqrt(var + eps) * weight + bias`` by channel (the last axis).

    In training, and where there are no running averages, mean and variance are the batch's, and
    the running averages move by `momentum` towards them (cumulatively if it is None).
    """
    refuse_sequences("batch_norm", input)
    graph = input.graph
    use_batch = training or running_mean is None
    values = [
        input,
        weight_in_graph(graph, weight, (0,)),
        weight_in_graph(graph, bias, (0,)),
        in_graph(graph, running_mean),
        in_graph(graph, running_var),
        None if batches_tracked is None else in_graph(graph, batches_tracked),
    ]
    attributes = {"training": use_batch, "momentum": momentum, "eps": float(eps)}
    return graph.record("batchnorm", values, **attributes)[0]


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
    """
    graph = input.graph
    outputs = graph.record(
        "cross_entropy",
        [input, as_labels(target), constant(graph, weight)],
        ignore_index=int(ignore_index),
        reduction=check_reduction(reduction),
        label_smoothing=float(label_smoothing),
    )
    graph.metrics.setdefault("statistics", outputs[-1])
    return outputs[0]


def as_labels(target: Value) -> Value:
    """An input of whole numbers, whatever it came as."""
    if target.source is not None and target.producer is None and target.shape == ():
        target.dtype = "int64"
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
    """``sum over j != target of max(0, margin - x[target] + x[j])**p / classes``."""
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
    """``(input - target)**2``"""
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

    `weight` and `pos_weight` have one entry for each column.
    """
    graph = input.graph
    return graph.record(
        "binary_cross_entropy",
        [input, target, constant(graph, weight), constant(graph, pos_weight)],
        reduction=check_reduction(reduction),
    )[0]
