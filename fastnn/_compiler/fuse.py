"""Fuse: known patterns become one node, dead nodes go, and results get memory of their own.

Each pass is a function from graph to graph (changed in place and returned). What may be fused with
what is told by the operators (operators/base.py).
"""

from __future__ import annotations

from fastnn._compiler.graph import Graph, Node, Value


def remove_unused(graph: Graph) -> Graph:
    """Drops nodes that nothing reads: backward rules record what may turn out not to be wanted."""
    live = graph.results()
    unused: set[Node] = set()
    for node in reversed(graph.nodes):
        if node.operator.updates_state or any(value in live for value in node.outputs):
            live.update(value for value in node.inputs if value is not None)
        else:
            unused.add(node)
    graph.remove(unused)
    return graph


def skip_unread_outputs(graph: Graph) -> Graph:
    """Tells operators which of their outputs nobody reads: some kernels need not compute them."""
    read = graph.results() | graph.users().keys()
    for node in graph.nodes:
        unread = {i for i, value in enumerate(node.outputs) if value not in read}
        if unread:
            node.operator.skip_outputs(node, unread)
    return graph


def fuse_activations(graph: Graph) -> Graph:
    """An operator that takes an activation, and an activation behind it, become one node.

    Where the backward pass of the first is told to find the activation's gradient itself
    (`differentiates_activation`), it takes the node that computed that.
    """
    users, results = graph.users(), graph.results()
    gone: set[Node] = set()
    for node in graph.nodes[: graph.forward_count]:
        if not node.operator.is_activation:
            continue
        before = only_read_by(node, node.inputs[0], users, results)
        if before is None or not before.operator.takes_activation or has_activation(before):
            continue
        gradients = gradients_to_take(before, node, users, results)
        if None in gradients.values():
            continue
        take_activation(before, node)
        for backward, gradient in gradients.items():
            assert gradient is not None
            backward.inputs[0] = gradient.inputs[0]
            take_attributes(backward, node)
            gone.add(gradient)
        gone.add(node)
    graph.remove(gone)
    return graph


def gradients_to_take(
    layer: Node, activation: Node, users: dict[Value, list[Node]], results: set[Value]
) -> dict[Node, Node | None]:
    """The layer's backward nodes that differentiate an activation themselves, and what did so.

    None stands for a gradient that is none of this activation, or that others read too.
    """
    found: dict[Node, Node | None] = {}
    for value in layer.outputs[1:]:
        for backward in users.get(value, []):
            if backward.operator.differentiates_activation:
                gradient = only_read_by(backward, backward.inputs[0], users, results)
                is_its = (
                    gradient is not None
                    and gradient.operator.is_activation_gradient
                    and gradient.inputs[1] is activation.outputs[0]
                )
                found[backward] = gradient if is_its else None
    return found


def fuse_activation_gradients(graph: Graph) -> Graph:
    """A node that computes a gradient, and the gradient of an activation behind it, become one.

    The kernel gets the activation's output (`Operator.take_activation_gradient`).
    """
    users, results = graph.users(), graph.results()
    gone: set[Node] = set()
    for node in graph.nodes[graph.forward_count :]:
        if not node.operator.is_activation_gradient:
            continue
        dy, y = node.inputs
        before = only_read_by(node, dy, users, results)
        if before is None or has_activation(before):
            continue
        if before.operator.take_activation_gradient(before, y):
            take_activation(before, node)
            gone.add(node)
    graph.remove(gone)
    return graph


def only_read_by(
    reader: Node, value: Value, users: dict[Value, list[Node]], results: set[Value]
) -> Node | None:
    """The node whose first output is `value`, if `reader` is all that sees it."""
    node = value.producer
    if node is None or value is not node.outputs[0] or value in results:
        return None
    return node if users[value] == [reader] else None


def has_activation(node: Node) -> bool:
    """Whether an activation (or the gradient of one) has been fused into a node."""
    return "activation" in node.attributes


def take_activation(node: Node, activation: Node) -> None:
    """Makes a node compute what an activation, or its gradient, computed behind it."""
    take_attributes(node, activation)
    node.outputs[0] = activation.outputs[0]
    node.outputs[0].producer = node


def take_attributes(node: Node, activation: Node) -> None:
    """Tells a node which activation it applies."""
    node.attributes["activation"] = activation.attributes["kind"]
    node.attributes["slope"] = activation.attributes.get("slope", 0.0)


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
                graph.insert(position, copy)
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
