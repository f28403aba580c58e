"""Autodiff: appends to a graph the nodes that compute gradients, in reverse order of its own.

A node's backward rule says which values it needs; by needing them it keeps them, since the memory
plan lets no value go before its last reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastnn._compiler.graph import Graph, Value


def differentiate(graph: Graph, seeds: Mapping[Value, Value], wanted: Iterable[Value]) -> Graph:
    """Records the gradients of the seeded outputs with respect to the wanted values.

    Parameters
    ----------
    graph : a traced graph; its `gradients` are filled
    seeds : output -> gradient that comes from above
    wanted : parameters and inputs; one that no output depends on gets no gradient

    Raises
    ------
    ValueError
        If an operator on the way is not differentiable.
    """
    wanted = list(wanted)
    needed = values_that_depend_on(graph, wanted)
    contributions: dict[Value, list[Value]] = {output: [seed] for output, seed in seeds.items()}
    for node in reversed(graph.nodes[: graph.forward_count]):
        if not any(value in needed for value in node.inputs):
            continue
        graph.layer = node.layer
        gradients = [total(graph, contributions.get(output, [])) for output in node.outputs]
        if not any(gradient is not None for gradient in gradients):
            continue
        for value, gradient in zip(
            node.inputs, node.operator.backward(node, gradients), strict=True
        ):
            if value in needed and gradient is not None:
                contributions.setdefault(value, []).append(gradient)
    graph.layer = ""
    for value in wanted:
        gradient = total(graph, contributions.get(value, []))
        if gradient is not None:
            graph.gradients[value] = gradient
    return graph


def values_that_depend_on(graph: Graph, wanted: Iterable[Value]) -> set[Value]:
    """The wanted values and everything that is computed from them."""
    needed = set(wanted)
    for node in graph.nodes:
        if any(value in needed for value in node.inputs):
            needed.update(node.outputs)
    return needed


def total(graph: Graph, contributions: list[Value]) -> Value | None:
    """The sum of the gradients that reach one value by several ways."""
    if not contributions:
        return None
    result = contributions[0]
    for gradient in contributions[1:]:
        result = graph.record("add", [result, gradient])[0]
    contributions[:] = [result]
    return result
