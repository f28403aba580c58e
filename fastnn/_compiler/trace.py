"""Trace: a module's `forward`, run once on values that have a shape and no numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from fastnn._compiler.graph import Graph, Spec, Value
from fastnn._compiler.layout import PLAIN, in_layout, is_image


class UnderTrace(threading.local):
    """The graphs that this thread records now, the innermost last."""

    def __init__(self) -> None:
        self.graphs: list[Graph] = []


_under_trace = UnderTrace()


def traced_graph() -> Graph | None:
    """The graph that is being recorded, None outside of any `forward`.

    By it what holds no traced value, a parameter, is told from an array to compute with at once.
    """
    return _under_trace.graphs[-1] if _under_trace.graphs else None


def is_nested() -> bool:
    """Whether a `forward` computes with arrays at once: what comes out is compiled in."""
    return len(_under_trace.graphs) > 1


def trace(
    function: Callable[..., Any],
    specs: Sequence[Spec],
    names: Sequence[str],
    dtype: str,
    layer_names: dict[int, str],
) -> tuple[Graph, Any]:
    """The graph of `function`, and its result as it returned it.

    Parameters
    ----------
    function : called with one Value for each spec
    specs, names : what the inputs are, and what an error calls them
    dtype : of parameters and of everything computed
    layer_names : identity of a module -> what an error and a summary call it

    Raises
    ------
    TypeError
        If the function returns anything but values (or tuples, lists and dicts of them).
    """
    graph = Graph(dtype, layer_names)
    inputs = [graph.input(name, spec) for name, spec in zip(names, specs, strict=True)]
    _under_trace.graphs.append(graph)
    try:
        result = function(*inputs)
    finally:
        _under_trace.graphs.pop()
    graph.outputs = flatten_structure(result)
    for value in graph.outputs:
        if not isinstance(value, Value):
            raise TypeError(
                f"forward returned {type(value).__name__}, expected traced values: compute with "
                "fastnn.nn modules and fastnn.nn.functional"
            )
    graph.outputs = [
        in_layout(graph, value, PLAIN) if is_image(value) else value for value in graph.outputs
    ]
    graph.forward_count = len(graph.nodes)
    return graph, result


def flatten_structure(structure: Any) -> list[Any]:
    """The leaves of nested tuples, lists and dicts, in order."""
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, (tuple, list)):
        return [leaf for item in structure for leaf in flatten_structure(item)]
    return [structure]


def rebuild_structure(structure: Any, leaves: Sequence[Any]) -> Any:
    """`structure` with its leaves, in order, replaced by `leaves`."""
    remaining = iter(leaves)

    def rebuild(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: rebuild(value) for key, value in item.items()}
        if isinstance(item, (tuple, list)):
            parts = [rebuild(value) for value in item]
            named = isinstance(item, tuple) and hasattr(item, "_fields")
            return type(item)(*parts) if named else type(item)(parts)
        return next(remaining)

    return rebuild(structure)
