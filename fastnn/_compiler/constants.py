"""What inference computes once: everything that depends on parameters and buffers alone.

A batch normalization with fixed statistics is a scale and a shift of each channel, and goes into
the weights and the bias of the layer before it. These, and weights in the form that an algorithm of
convolution reads, come first in the graph; a Program runs them again only when a parameter or a
buffer has changed (fastnn/_core/constants.pyx tells how it knows).
"""

from __future__ import annotations

from fastnn._compiler.fuse import has_activation, only_read_by
from fastnn._compiler.graph import Graph, Node, Value


def fold_batchnorms(graph: Graph) -> Graph:
    """Puts what scales and shifts channels into the weights of the layer before it."""
    users, results = graph.users(), graph.results()
    for node in reversed(graph.nodes[:]):
        if node.inputs and node.inputs[0] is not None:
            layer = only_read_by(node, node.inputs[0], users, results)
            if layer is not None and layer.operator.takes_scale and not has_activation(layer):
                fold(graph, layer, node)
    return graph


def fold(graph: Graph, layer: Node, scale: Node) -> None:
    """Gives a layer the weights and the bias that do what both did, if `scale` is a scale."""
    folded = scale.operator.fold_into(scale, layer)
    if folded is None:
        return
    folded.layer = layer.layer
    graph.insert(graph.nodes.index(layer), folded)
    layer.inputs[1:3] = folded.outputs
    layer.outputs[0] = scale.outputs[0]
    layer.outputs[0].producer = layer
    graph.remove({scale})


def hoist_constants(graph: Graph) -> Graph:
    """Moves what no input reaches to the front, and counts it."""
    constant: set[Value] = set(graph.sources())
    front: list[Node] = []
    rest: list[Node] = []
    for node in graph.nodes:
        if is_constant(node, constant):
            constant.update(node.outputs)
            front.append(node)
        else:
            rest.append(node)
    graph.nodes = front + rest
    graph.constant_count = len(front)
    return graph


def is_constant(node: Node, constant: set[Value]) -> bool:
    """Whether a node gives the same at every run, as long as parameters and buffers stay."""
    return (
        not node.operator.updates_state
        and not node.operator.is_random
        and all(value is None or value in constant for value in node.inputs)
        and not any(value.batched for value in node.outputs)
    )
