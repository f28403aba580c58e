"""What inference computes once: everything that depends on parameters and buffers alone.

A batch normalization with fixed statistics is a scale and a shift of each channel, and goes into
the weights and the bias of the layer before it. These, and weights in the form that an algorithm of
convolution reads, come first in the graph; a Program runs them again only when a parameter or a
buffer has changed (fastnn/_core/program.pyx tells how it knows).
"""

from __future__ import annotations

from fastnn._compiler.graph import Graph, Node, Value

TAKES_BATCHNORM = {"linear", "conv2d"}


def fold_batchnorms(graph: Graph) -> Graph:
    """Puts a BatchNorm with running statistics into the Linear or the convolution before it."""
    users = graph.users()
    for position in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[position]
        before = node.inputs[0].producer if node.inputs and node.inputs[0] is not None else None
        if (
            node.operator.name != "batchnorm"
            or node.attributes["training"]
            or before is None
            or before.operator.name not in TAKES_BATCHNORM
            or before.attributes.get("activation")
            or node.inputs[0] in graph.outputs
            or users[node.inputs[0]] != [node]
        ):
            continue
        fold(graph, before, node)
    return graph


def fold(graph: Graph, layer: Node, batchnorm: Node) -> None:
    """Gives a layer the weights and the bias that do what both did."""
    _, weight, bias, mean, variance, _ = batchnorm.inputs
    folded = graph.make_node(
        "fold_batchnorm",
        [layer.inputs[1], layer.inputs[2], weight, bias, mean, variance],
        eps=batchnorm.attributes["eps"],
    )
    folded.layer = layer.layer
    graph.nodes.insert(graph.nodes.index(layer), folded)
    graph.forward_count += 1
    layer.inputs[1:3] = folded.outputs
    layer.outputs[0] = batchnorm.outputs[0]
    batchnorm.outputs[0].producer = layer
    graph.nodes.remove(batchnorm)
    graph.forward_count -= 1


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
