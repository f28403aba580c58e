"""The fully connected layer."""

from __future__ import annotations

from fastnn._compiler.activations import KINDS, activation_of
from fastnn._compiler.operators.base import (
    BYTES_PER_NANOSECOND,
    FLOPS_PER_NANOSECOND,
    ITEMSIZES,
    PANEL_WORKSPACE_BYTES,
    PRODUCTS,
    Call,
    Operator,
    require,
    rows,
    same,
    shape_of,
)
from fastnn._core.dispatch import constants

STRIPS_ELEMENTS = constants("linear_parameters").STRIPS_ELEMENTS
TILE_ROWS = 8  # of a product, at the most


class Linear(Operator):
    """y (..., out) = f(x (..., in) @ weight + bias); inputs x, weight (out, in), bias or None.

    Attributes `activation` and `slope` are set by the fusing pass.
    """

    name = "linear"
    layout = "plain"
    takes_activation = True
    takes_scale = True

    def infer(self, node):
        x, weight, bias = node.inputs
        require(
            len(x.example_shape) >= 1, "got an input of shape (batch,), expected (batch, ..., in)"
        )
        require(
            len(weight.shape) == 2 and weight.example_size > 0,
            f"got a weight of shape {weight.shape}, expected (out, in), none of them 0",
        )
        out_features, in_features = weight.shape
        require(
            x.columns == in_features,
            f"got {x.columns} input features (shape {x.shape}), expected {in_features}",
        )
        require(
            bias is None or bias.shape == (out_features,),
            f"got a bias of shape {shape_of(bias)}, expected {(out_features,)}",
        )
        return [same(x, shape=(*x.example_shape[:-1], out_features))]

    def backward(self, node, gradients):
        x, weight, bias = node.inputs
        (dy,) = gradients
        graph = x.graph
        dx = graph.record("linear_backward_input", [dy, weight, x])[0]
        parameters = graph.record("linear_backward_parameters", [x, dy, weight, bias])
        return [dx, parameters[0], parameters[1] if bias is not None else None]

    def lower(self, node):
        x, weight, bias = node.inputs
        return [
            Call(
                "linear_forward",
                [node.outputs[0], x, weight, bias],
                [rows(x), weight.shape[0], weight.shape[1], KINDS[activation_of(node)]],
                [node.attributes.get("slope", 0.0)],
                product_time(x, weight),
                PANEL_WORKSPACE_BYTES,
                halves_bytes(weight),
            )
        ]

    def flops(self, node):
        x, weight, bias = node.inputs
        return x.rows * (2 * weight.example_size + (weight.shape[0] if bias is not None else 0))


class LinearBackwardInput(Operator):
    """dx = dy @ weight^T; inputs dy, weight, x.

    x is read only where the fusing pass has put the gradient of the activation that made x here
    (attribute `activation`); its shape is needed always.
    """

    name = "linear_backward_input"
    layout = "plain"

    def infer(self, node):
        return [same(node.inputs[2])]

    def take_activation_gradient(self, node, y):
        return node.inputs[2] is y

    def lower(self, node):
        dy, weight, x = node.inputs
        activation = activation_of(node)
        return [
            Call(
                "linear_backward_input",
                [node.outputs[0], dy, weight, x if activation != "identity" else None],
                [rows(dy), weight.shape[0], weight.shape[1], KINDS[activation]],
                [node.attributes.get("slope", 0.0)],
                product_time(dy, weight),
                PANEL_WORKSPACE_BYTES,
            )
        ]

    def flops(self, node):
        dy, weight, _ = node.inputs
        return dy.rows * 2 * weight.example_size


class LinearBackwardParameters(Operator):
    """dweight = x^T @ dy, dbias = the sum of dy over its rows; inputs x, dy, weight, bias."""

    name = "linear_backward_parameters"
    layout = "plain"
    reads_beyond = (1,)

    def infer(self, node):
        _, _, weight, bias = node.inputs
        return [same(weight)] + ([same(bias)] if bias is not None else [])

    def lower(self, node):
        x, dy, weight, bias = node.inputs
        dbias = node.outputs[1] if bias is not None else None
        return [
            Call(
                "linear_backward_parameters",
                [node.outputs[0], dbias, x, dy],
                [rows(dy), weight.shape[0], weight.shape[1]],
                [],
                product_time(dy, weight),
                PANEL_WORKSPACE_BYTES + strips_bytes(x),
            )
        ]

    def flops(self, node):
        _, dy, weight, bias = node.inputs
        return dy.rows * 2 * weight.example_size + (dy.example_size if bias is not None else 0)


def halves_bytes(weight):
    """The second half of a product of few rows, where there is one (kernels/linear.pyx)."""
    out_features, in_features = weight.shape
    if (
        in_features < PRODUCTS.HALVES_LEAST_DEPTH
        or weight.example_size > PRODUCTS.SECOND_CACHE_ELEMENTS
    ):
        return 0
    return PRODUCTS.HALVES_MOST_ROWS * out_features * ITEMSIZES[weight.dtype]


def strips_bytes(x):
    """A thread's copy of x in strips, of whole tiles (kernels/linear_parameters.pyx)."""
    elements = min(STRIPS_ELEMENTS, (x.columns + TILE_ROWS) * PRODUCTS.DEPTH_BLOCK)
    return elements * ITEMSIZES[x.dtype]


def product_time(x, weight):
    """Estimated nanoseconds of a product with x's rows: reading the weight, and computing."""
    reading = weight.example_size * ITEMSIZES[x.dtype] / BYTES_PER_NANOSECOND
    return rows(x) * (2 * weight.example_size / FLOPS_PER_NANOSECOND) + reading
