"""How a function records a node on traced values, and computes at once on arrays."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._checks import to_reals
from fastnn._compiler.graph import Buffer, Graph, Value
from fastnn._compiler.trace import is_nested, traced_graph
from fastnn._core.aligned import aligned_zeros
from fastnn.nn.parameter import Parameter


def computes_on_arrays(*batched: str, elementwise: bool = False) -> Callable[[Callable], Callable]:
    """Makes a recording function compute at once where its batched arguments are arrays.

    Inside a `forward` a parameter is no array: what was computed of its values would stay as it
    was. Of parameters alone those functions are recorded that are `elementwise`.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        first_is_batched = next(iter(signature.parameters)) in batched

        @functools.wraps(function)
        def either(*args: Any, **options: Any) -> Any:
            if first_is_batched and args and isinstance(args[0], Value):  # as modules call it
                if (elementwise or args[0].batched) and len(batched) == 1:
                    return function(*args, **options)
            bound = signature.bind(*args, **options)
            arguments = bound.arguments
            inputs = [arguments[name] for name in batched if name in arguments]
            leaves = [leaf for item in inputs for leaf in as_list(item)]
            graph = traced_graph()
            if graph is not None and any(isinstance(leaf, Parameter) for leaf in leaves):
                if elementwise:
                    arguments[batched[0]] = plain_in_graph(graph, inputs[0])
                    return function(*bound.args, **bound.kwargs)
            elif not any(isinstance(leaf, Value) for leaf in leaves):
                return compute(function, arguments, batched)
            for name in batched:
                if name != "inputs":  # of concatenate
                    require_one(function.__name__, name, arguments.get(name))
            for leaf in () if elementwise else leaves:
                require_batched(function.__name__, leaf)
            return function(*args, **options)

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


def require_batched(function: str, leaf: Any) -> None:
    """TypeError for what has no batch where a function takes a value that has one."""
    if isinstance(leaf, Parameter) or (isinstance(leaf, Value) and not leaf.batched):
        raise TypeError(
            f"{function}: got {leaf!r}, which has no batch, expected a traced value that depends "
            "on the input; a parameter serves as a weight or bias, and elementwise functions take "
            "it too (relu, tanh, sigmoid, leaky_relu, elu, dropout)"
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
        return thing._in_graph(graph)
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
    array = to_reals("weight", values).astype(graph.dtype, copy=False)
    copy = aligned_zeros(array.size, graph.dtype).reshape(array.shape)
    copy[...] = array
    return graph.source(Buffer(copy), copy.shape)


def weight_in_graph(graph: Graph, weight: Any, storage_axes: tuple[int, ...]) -> Value | None:
    """A weight with its axes in memory as a kernel reads them.

    A parameter may lie otherwise, if it was made without `storage_axes`: then it is rearranged in
    each step (in inference once). An array is taken for a parameter that nobody trains.
    """
    if weight is None:
        return None
    if isinstance(weight, Value):
        if weight.batched:
            raise TypeError(
                f"got {weight!r} as a weight, expected a Parameter or an array: a weight can't "
                "depend on the input"
            )
    elif not isinstance(weight, Parameter):
        weight = to_reals("weight", weight).astype(graph.dtype, copy=False)
    if len(weight.shape) != len(storage_axes):
        # The shape rule of the operator refuses it, and says for which layer.
        return in_graph(graph, Parameter(weight) if isinstance(weight, np.ndarray) else weight)
    if isinstance(weight, np.ndarray):
        weight = Parameter(weight, False, storage_axes)
    if isinstance(weight, Parameter):
        if weight.storage_axes == storage_axes:
            return weight._in_graph(graph)
        weight = plain_in_graph(graph, weight)
    for count, rows, columns in transpositions(weight.shape, storage_axes):
        (weight,) = graph.record("transpose", [weight], count=count, rows=rows, columns=columns)
    return weight


def plain_in_graph(graph: Graph, parameter: Parameter) -> Value:
    """A parameter as a value whose memory is in the order of its shape, as of all values."""
    value = parameter._in_graph(graph)
    steps = transpositions(parameter.shape, parameter.storage_axes)
    for count, rows, columns in reversed(steps):
        (value,) = graph.record("transpose", [value], count=count, rows=columns, columns=rows)
    return value


def transpositions(
    shape: tuple[int, ...], storage_axes: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """The transpositions (count, rows, columns) that bring a shape's axes in another order."""
    if storage_axes == tuple(range(len(shape))):
        return []
    if storage_axes == (1, 0):
        return [(1, shape[0], shape[1])]
    if storage_axes == (2, 3, 1, 0):
        filters, channels, height, width = shape
        pixels = height * width
        return [(filters, channels, pixels), (1, filters, pixels * channels)]
    raise TypeError(
        f"got a parameter with storage_axes={storage_axes}, expected one without: they are for the "
        "layers of fastnn.nn"
    )


def new_salt(graph: Graph) -> int:
    """What tells the masks of a run apart; counted by graph, so that a seed repeats a run.

    Raises
    ------
    TypeError
        If a `forward` draws for an array, whose mask would be compiled in.
    """
    if is_nested():
        raise TypeError(
            "dropout: got an array inside `forward`, where it is computed once for all runs, "
            "expected a traced value or a Parameter"
        )
    return 1 + sum(node.operator.is_random for node in graph.nodes)
