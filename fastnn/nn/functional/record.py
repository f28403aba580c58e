"""How a function records a node on traced values, and computes at once on arrays."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._compiler.graph import Buffer, Graph, Value
from fastnn._core.aligned import aligned_zeros
from fastnn.nn.parameter import Parameter


def computes_on_arrays(*batched: str) -> Callable[[Callable], Callable]:
    """Makes a recording function compute at once where its batched arguments are arrays."""

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        first_is_batched = next(iter(signature.parameters)) in batched

        @functools.wraps(function)
        def either(*args: Any, **options: Any) -> Any:
            if first_is_batched and args and isinstance(args[0], Value):  # as modules call it
                return function(*args, **options)
            bound = signature.bind(*args, **options)
            inputs = [bound.arguments[name] for name in batched if name in bound.arguments]
            leaves = [leaf for item in inputs for leaf in as_list(item)]
            if any(isinstance(leaf, Value) for leaf in leaves):
                for name in batched:
                    if name != "inputs":  # of concatenate
                        require_one(function.__name__, name, bound.arguments.get(name))
                return function(*args, **options)
            return compute(function, bound.arguments, batched)

        return either

    return decorate


def require_one(function: str, name: str, item: Any) -> None:
    """TypeError for what is not one traced value, where a function got some."""
    if item is None:
        raise TypeError(
            f"{function}: got None as {name}, expected a traced value: does `forward` return what "
            "it computes?"
        )
    if isinstance(item, (tuple, list, dict)):
        raise TypeError(
            f"{function}: got a {type(item).__name__} of {len(item)} traced values as {name}, "
            "expected one: lists, tuples and dicts of arrays stand for several inputs of a network "
            "(np.stack makes one array of a list of examples)"
        )


def as_list(item: Any) -> Sequence[Any]:
    """The operands of a function that takes one or several."""
    if isinstance(item, dict):
        return list(item.values())
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

    Once.__name__ = function.__name__  # for errors
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
    array = np.asarray(weight, dtype=graph.dtype)
    # A shape rule refuses another number of axes.
    axes = storage_axes if array.ndim == len(storage_axes) else None
    parameter = Parameter(array, False, axes)
    return graph.source(parameter, parameter.shape)


def new_salt(graph: Graph) -> int:
    """What tells the masks of a run apart; counted by graph, so that a seed repeats a run."""
    return 1 + sum(node.operator.is_random for node in graph.nodes)
