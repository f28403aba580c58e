"""Sums: an addition becomes a part of the node that computes one of its operands.

    x ──BatchNorm──▶ y ──▶ add ──ReLU──▶ z          x ──BatchNorm, plus w, ReLU──▶ z
                      w ──▶                    ▶    w ──────────────┘

A residual connection adds twice: forward, where its branches meet, and backward, where the
gradients of what they share do. Alone, an addition costs three passes over memory.
"""

from __future__ import annotations

from fastnn._compiler.graph import Graph, Node, Value


def fuse_sums(graph: Graph) -> Graph:
    """Gives an addition to the node before it that can add (`Operator.takes_addend`).

    The addition must be the only reader of what that node computes, and its other operand must be
    there by then.
    """
    users = graph.users()
    position = {node: index for index, node in enumerate(graph.nodes)}
    kept = {*graph.outputs, *graph.gradients.values(), *graph.metrics.values()}
    gone: set[Node] = set()

    def takes(value: Value, other: Value) -> bool:
        before = value.producer
        return (
            before is not None
            and before.operator.takes_addend(before)
            and value is before.outputs[0]
            and value not in kept
            and len(users[value]) == 1
            and (other.producer is None or position[other.producer] < position[before])
        )

    for node in graph.nodes:
        if node.operator.name != "add":
            continue
        for value, other in (node.inputs, node.inputs[::-1]):
            if takes(value, other):
                before = value.producer
                before.inputs.append(other)
                before.outputs[0] = node.outputs[0]
                node.outputs[0].producer = before
                position.pop(node)
                gone.add(node)
                break
    graph.forward_count -= sum(node in gone for node in graph.nodes[: graph.forward_count])
    graph.nodes = [node for node in graph.nodes if node not in gone]
    return graph
