"""Convolution of images with learned kernels.

What it computes is told here, how in `fastnn/_compiler/convolution/`: the algorithm of each
direction is chosen by shape when the passes are through (`prepare_weights`), and the form of the
weights that it reads becomes a node of its own, computed once for all that read it.
"""

from __future__ import annotations

from fastnn._compiler.activations import KINDS, activation_of
from fastnn._compiler.convolution.algorithm import (
    BACKWARD_INPUT,
    BACKWARD_PARAMETERS,
    FORWARD,
)
from fastnn._compiler.convolution.choice import ALGORITHMS, choose
from fastnn._compiler.convolution.geometry import Geometry, output_length
from fastnn._compiler.graph import Graph, Spec
from fastnn._compiler.operators.base import (
    BATCH,
    ELEMENTS_PER_NANOSECOND,
    FLOPS_PER_NANOSECOND,
    ITEMSIZES,
    Call,
    Operator,
    Size,
    require,
    require_image,
    same,
    shape_of,
)

# Of float in the widest vector.
WIDEST_LANES = 16


class Conv2d(Operator):
    """y = f(x * weight + bias); inputs x (images), weight (filters, channels / groups, height,
    width), bias or None.

    Attributes: `stride`, `dilation` (pairs), `padding` ((top, bottom), (left, right)), `groups`,
    `request` (an algorithm or "auto"); `activation` and `slope` are set by the fusing pass,
    `geometry` by the shape rule.
    """

    name = "conv2d"
    layout = "channels"
    takes_activation = True
    takes_scale = True
    direction = FORWARD

    def infer(self, node):
        x, weight, bias = node.inputs
        require_image(x)
        geometry = geometry_of(x, weight, node.attributes)
        filters = geometry.filters
        require(
            bias is None or bias.shape == (filters,),
            f"got a bias of shape {shape_of(bias)}, expected {(filters,)}",
        )
        choose(geometry, FORWARD, node.attributes["request"])  # says so where it can't be had
        node.attributes["geometry"] = geometry
        return [same(x, shape=(*geometry.out_image, filters))]

    def backward(self, node, gradients):
        x, weight, bias = node.inputs
        (dy,) = gradients
        attributes = {name: node.attributes[name] for name in ("geometry", "request")}
        dx = x.graph.record("conv2d_backward_input", [dy, weight, x], **attributes)[0]
        inputs = [x, dy, weight, bias]
        parameters = x.graph.record("conv2d_backward_parameters", inputs, **attributes)
        return [dx, parameters[0], parameters[1] if bias is not None else None]

    def lower(self, node):
        x, weight, bias = node.inputs
        return [convolution_call(node, [node.outputs[0], x, weight, bias])]

    def flops(self, node):
        geometry, bias = node.attributes["geometry"], node.inputs[2]
        return geometry.flops() + (node.outputs[0].example_size if bias is not None else 0)


class Conv2dBackwardInput(Operator):
    """dx; inputs dy, weight, x.

    x is read only where the fusing pass has put the gradient of the activation that made x here.
    """

    name = "conv2d_backward_input"
    layout = "channels"
    direction = BACKWARD_INPUT

    def infer(self, node):
        return [same(node.inputs[2])]

    def take_activation_gradient(self, node, y):
        return node.inputs[2] is y

    def lower(self, node):
        dy, weight, x = node.inputs
        read = x if activation_of(node) != "identity" else None
        return [convolution_call(node, [node.outputs[0], dy, weight, read])]

    def flops(self, node):
        return node.attributes["geometry"].flops()


class Conv2dBackwardParameters(Operator):
    """dweight, dbias; inputs x, dy, weight, bias."""

    name = "conv2d_backward_parameters"
    layout = "channels"
    reads_beyond = (1,)
    direction = BACKWARD_PARAMETERS

    def inputs_read_beyond(self, node):
        # Whole vectors of a group's filters are read to their end.
        geometry = node.attributes["geometry"]
        filters = geometry.filters // geometry.groups
        return () if filters % WIDEST_LANES == 0 else self.reads_beyond

    def infer(self, node):
        _, _, weight, bias = node.inputs
        return [same(weight)] + ([same(bias)] if bias is not None else [])

    def lower(self, node):
        x, dy, _, bias = node.inputs
        dbias = node.outputs[1] if bias is not None else None
        return [convolution_call(node, [node.outputs[0], dbias, x, dy])]

    def flops(self, node):
        _, dy, _, bias = node.inputs
        return node.attributes["geometry"].flops() + (dy.example_size if bias is not None else 0)


class Conv2dWeight(Operator):
    """The weights in the form that an algorithm reads; attributes `geometry`, `direction`,
    `algorithm`."""

    name = "conv2d_weight"

    def infer(self, node):
        weight, attributes = node.inputs[0], node.attributes
        algorithm = ALGORITHMS[attributes["algorithm"]]
        count = algorithm.prepared_elements(attributes["geometry"], attributes["direction"])
        return [Spec((count,), weight.dtype, batched=False)]

    def lower(self, node):
        attributes = node.attributes
        (prepared,), (weight,) = node.outputs, node.inputs
        for_backward = attributes["direction"] == BACKWARD_INPUT
        return [
            Call(
                f"conv2d_{attributes['algorithm']}_weight",
                [prepared, weight],
                attributes["geometry"].sizes(for_backward=for_backward),
                [],
                Size(constant=prepared.example_size / ELEMENTS_PER_NANOSECOND),
            )
        ]

    def flops(self, node):
        return 0


def geometry_of(x, weight, attributes) -> Geometry:
    """The geometry of a convolution; ValueError where its sizes don't fit each other."""
    height, width, channels = x.example_shape
    require(
        len(weight.shape) == 4 and weight.example_size > 0,
        f"got a weight of shape {weight.shape}, expected (filters, channels / groups, height, "
        "width), none of them 0",
    )
    filters, group_channels, *kernel = weight.shape
    groups, stride, dilation = (attributes[n] for n in ("groups", "stride", "dilation"))
    (top, bottom), (left, right) = attributes["padding"]
    require(
        channels == group_channels * groups,
        f"got {channels} channels (shape {x.shape}), expected {group_channels * groups}",
    )
    require(filters % groups == 0, f"got {filters} filters, expected a multiple of {groups} groups")
    out_image = (
        output_length(height, kernel[0], stride[0], top, bottom, dilation[0]),
        output_length(width, kernel[1], stride[1], left, right, dilation[1]),
    )
    require(
        min(out_image) >= 1,
        f"got images of {(height, width)} with padding {attributes['padding']}, expected at least "
        f"the kernel's extent {tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))}",
    )
    # Beyond the padded image, and between the taps of one, distances say nothing: kernels that go
    # through a stride's remainders would never end.
    stride = (min(stride[0], top + height + bottom), min(stride[1], left + width + right))
    dilation = tuple(d if k > 1 else 1 for d, k in zip(dilation, kernel, strict=True))
    return Geometry(
        (height, width),
        channels,
        out_image,
        filters,
        (kernel[0], kernel[1]),
        stride,
        (top, left),
        dilation,
        groups,
    )


def convolution_call(node, data) -> Call:
    """The kernel of the chosen algorithm."""
    direction, attributes = node.operator.direction, node.attributes
    geometry = attributes["geometry"]
    algorithm = algorithm_of(node)
    workspace = algorithm.workspace(geometry, direction, ITEMSIZES[data[0].dtype])
    return Call(
        f"conv2d_{algorithm.name}_{direction}",
        data,
        geometry.sizes(KINDS[activation_of(node)]),
        [attributes.get("slope", 0.0)],
        BATCH * (geometry.flops() / FLOPS_PER_NANOSECOND),
        workspace.per_thread,
        workspace.shared,
    )


def algorithm_of(node):
    """What computes a node: by its shape and the largest batch, or what was asked for."""
    attributes = node.attributes
    return choose(
        attributes["geometry"],
        node.operator.direction,
        attributes["request"],
        node.outputs[0].graph.largest_batch,
    )


def prepare_weights(graph: Graph) -> Graph:
    """Inserts the nodes that bring weights into the form that the chosen algorithms read."""
    prepared = {}
    position = 0
    while position < len(graph.nodes):
        node = graph.nodes[position]
        if isinstance(node.operator, (Conv2d, Conv2dBackwardInput)):
            weight, geometry = node.inputs[1], node.attributes["geometry"]
            algorithm, direction = algorithm_of(node), node.operator.direction
            key = (weight, geometry, algorithm.name, direction)
            if algorithm.prepared_elements(geometry, direction) and key not in prepared:
                made = graph.make_node(
                    "conv2d_weight",
                    [weight],
                    geometry=geometry,
                    direction=direction,
                    algorithm=algorithm.name,
                )
                made.layer = node.layer
                graph.insert(position, made)
                position += 1
                (prepared[key],) = made.outputs
            node.inputs[1] = prepared.get(key, weight)
        position += 1
    return graph
