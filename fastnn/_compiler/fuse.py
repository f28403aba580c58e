"""Fuse: known patterns become one node, dead nodes go, and results get memory of their own.

Each pass is a function from graph to graph (changed in place and returned).
"""

from __future__ import annotations

from fastnn._compiler.constants import fold_batchnorms, hoist_constants
from fastnn._compiler.graph import OPERATORS, Graph, Node, Value
from fastnn._compiler.operators.convolution import prepare_weights

# Nodes whose kernel can apply an activation to its own output.
TAKES_ACTIVATION = {"linear", "conv2d", "batchnorm", "add"}
# Nodes whose kernel can apply an activation's gradient to the gradient that it computes.
TAKES_GRADIENT = {"linear_backward_input", "conv2d_backward_input", "add"}


def optimize(graph: Graph) -> Graph:
    """All passes, in order."""
    for rewrite in (
        remove_unused,
        skip_gradients_of_inputs,
        skip_winners,
        fuse_activations,
        fuse_activation_gradients,
        own_results,
        copy_borrowed,
        prepare_weights,
    ):
        rewrite(graph)
    return graph


def optimize_inference(graph: Graph) -> Graph:
    """All passes for a graph without backward nodes: what depends on no input is computed once."""
    return hoist_constants(optimize(fold_batchnorms(remove_unused(graph))))


def remove_unused(graph: Graph) -> Graph:
    """Drops nodes that nothing reads: backward rules record what may turn out not to be wanted."""
    live = {*graph.outputs, *graph.gradients.values(), *graph.metrics.values()}
    kept = []
    forward_count = 0
    for index in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[index]
        if node.operator.updates_state or any(value in live for value in node.outputs):
            live.update(value for value in node.inputs if value is not None)
            kept.append(node)
            forward_count += index < graph.forward_count
    graph.nodes = kept[::-1]
    graph.forward_count = forward_count
    return graph


def skip_gradients_of_inputs(graph: Graph) -> Graph:
    """A batch normalization whose dx nobody reads need not compute it."""
    users = graph.users()
    live = {*graph.outputs, *graph.gradients.values()}
    for node in graph.nodes:
        if node.operator.name == "batchnorm_backward" and not (
            node.outputs[0] in live or node.outputs[0] in users
        ):
            node.attributes["without_dx"] = True
    return graph


def skip_winners(graph: Graph) -> Graph:
    """A max-pooling that nobody differentiates need not tell which elements won."""
    users = graph.users()
    for node in graph.nodes:
        if node.operator.name == "max_pool" and not users.get(node.outputs[1]):
            del node.outputs[1]
    return graph


def remove_nodes(graph: Graph, gone: set[Node]) -> None:
    """Takes nodes out, keeping the count of forward nodes right."""
    graph.forward_count -= sum(node in gone for node in graph.nodes[: graph.forward_count])
    graph.nodes = [node for node in graph.nodes if node not in gone]


def fuse_activations(graph: Graph) -> Graph:
    """Linear, convolution, BatchNorm or sum, and an activation behind it, become one node.

    The activation must be the only reader of the output before it. A BatchNorm's backward then
    applies the activation's gradient itself, finding it from the BatchNorm's input.
    """
    users = graph.users()
    gone: set[Node] = set()
    kept_values = {*graph.outputs, *graph.gradients.values()}
    for node in graph.nodes[: graph.forward_count]:
        if node.operator.name != "activation":
            continue
        (x,) = node.inputs
        before = x.producer
        if (
            before is None
            or before.operator.name not in TAKES_ACTIVATION
            or before.attributes.get("activation")
            or x is not before.outputs[0]
            or x in kept_values
            or any(user is not node for user in users[x])
        ):
            continue
        y = node.outputs[0]
        if before.operator.name == "batchnorm" and not fuse_batchnorm_backward(
            graph, users, before, node, gone
        ):
            continue
        before.attributes["activation"] = node.attributes["kind"]
        before.attributes["slope"] = node.attributes.get("slope", 0.0)
        before.outputs[0] = y
        y.producer = before
        gone.add(node)
    remove_nodes(graph, gone)
    return graph


def fuse_batchnorm_backward(
    graph: Graph, users: dict[Value, list[Node]], batchnorm: Node, activation: Node, gone: set[Node]
) -> bool:
    """Gives the activation's gradient to the BatchNorm's backward; False if that can't be."""
    mean = batchnorm.outputs[1]
    readers = [node for node in users.get(mean, []) if node.operator.name == "batchnorm_backward"]
    if not readers:
        return True
    (backward,) = readers
    gradient = backward.inputs[0].producer
    if (
        gradient is None
        or gradient.operator.name != "activation_backward"
        or gradient.inputs[1] is not activation.outputs[0]
        or users[gradient.outputs[0]] != [backward]
    ):
        return False
    backward.inputs[0] = gradient.inputs[0]
    backward.attributes["activation"] = activation.attributes["kind"]
    backward.attributes["slope"] = activation.attributes.get("slope", 0.0)
    gone.add(gradient)
    return True


def fuse_activation_gradients(graph: Graph) -> Graph:
    """dx of a Linear or a convolution, or a sum of gradients, and the gradient of an activation
    behind it become one node.

    The kernel gets the activation's output: of a Linear it is the input, of a sum a third operand.
    """
    users = graph.users()
    gone: set[Node] = set()
    kept_values = set(graph.gradients.values())
    for node in graph.nodes[graph.forward_count :]:
        if node.operator.name != "activation_backward":
            continue
        dy, y = node.inputs
        before = dy.producer
        if (
            before is None
            or before.operator.name not in TAKES_GRADIENT
            or before.attributes.get("activation")
            or dy in kept_values
            or users[dy] != [node]
        ):
            continue
        if before.operator.name == "add":
            before.operator = OPERATORS["add_gradient"]
            before.inputs = [*before.inputs, y]
        elif before.inputs[2] is not y:
            continue
        before.attributes["activation"] = node.attributes["kind"]
        before.attributes["slope"] = node.attributes.get("slope", 0.0)
        before.outputs[0] = node.outputs[0]
        node.outputs[0].producer = before
        gone.add(node)
    remove_nodes(graph, gone)
    return graph


def own_results(graph: Graph) -> Graph:
    """Copies results that are no memory of their own: inputs, views, and those wanted twice.

    A gradient that is to lie in a parameter's `grad`, or a result in an array of the caller's,
    must be written there by the node that computes it.
    """
    taken: set[Value] = set()

    def own(value: Value, forward: bool) -> Value:
        producer = value.producer
        if value in taken or producer is None or producer.operator.is_view:
            return append_copy(graph, value, forward)
        taken.add(value)
        return value

    graph.outputs = [own(value, True) for value in graph.outputs]
    graph.gradients = {key: own(value, False) for key, value in graph.gradients.items()}
    return graph


def copy_borrowed(graph: Graph) -> Graph:
    """Copies what lies in the caller's memory and is read a little beyond its end."""
    position = 0
    while position < len(graph.nodes):
        node = graph.nodes[position]
        for index in node.operator.inputs_read_beyond(node):
            if is_borrowed(node.inputs[index]):
                copy = graph.make_node("copy", [node.inputs[index]])
                node.inputs[index] = copy.outputs[0]
                graph.nodes.insert(position, copy)
                graph.forward_count += position < graph.forward_count
                position += 1
        position += 1
    return graph


def is_borrowed(value: Value) -> bool:
    """Whether a value is an input, or a view of one."""
    while value.producer is not None and value.producer.operator.is_view:
        value = value.producer.inputs[0]
    return value.producer is None and value in value.graph.inputs


def append_copy(graph: Graph, value: Value, forward: bool) -> Value:
    """A copy of a value, computed at the end of the forward or of the backward nodes."""
    node = graph.make_node("copy", [value])
    graph.nodes.insert(graph.forward_count if forward else len(graph.nodes), node)
    graph.forward_count += forward
    return node.outputs[0]
