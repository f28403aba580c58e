"""Elementwise arithmetic: sums, products, copies."""

from __future__ import annotations

from fastnn._compiler.activations import KINDS, activation_of
from fastnn._compiler.graph import OPERATORS
from fastnn._compiler.operators.activation import activation_time
from fastnn._compiler.operators.base import (
    ELEMENTS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require,
    same,
)


class OfTwo(Operator):
    """Elementwise, of two values of one shape."""

    in_place = ((0, 0), (0, 1))

    def infer(self, node):
        a, b = node.inputs
        require(
            a.batched == b.batched,
            f"got {a!r} and {b!r}: a parameter does not broadcast over the batch; it is added or "
            "multiplied as the bias of linear, or the weight and the bias of batch_norm",
        )
        require(
            a.example_shape == b.example_shape,
            f"got {a!r} and {b!r}, expected two values of one shape",
        )
        return [same(a)]


class Add(OfTwo):
    """y = f(a + b); f by the attribute `activation`, where there is one."""

    name = "add"
    takes_activation = True

    def backward(self, node, gradients):
        return [gradients[0], gradients[0]]

    def take_activation_gradient(self, node, y):
        node.operator = OPERATORS["add_gradient"]
        node.inputs.append(y)
        return True

    def lower(self, node):
        (y,), (a, b, *output) = node.outputs, node.inputs
        activation = activation_of(node)
        return [
            Call(
                "add",
                [y, a, b, output[0] if output else None],
                [elements(y), KINDS[activation]],
                [node.attributes.get("slope", 0.0)],
                activation_time(y, activation),
            )
        ]


class AddGradient(Add):
    """dx = (a + b) f'(x), by the output of f; inputs a, b, output.

    Made by the fusing pass of a sum of gradients and the gradient of the attribute `activation`.
    """

    name = "add_gradient"


class Multiply(OfTwo):
    """y = a * b"""

    name = "multiply"

    def backward(self, node, gradients):
        a, b = node.inputs
        graph = a.graph
        return [
            graph.record("multiply", [gradients[0], b])[0],
            graph.record("multiply", [gradients[0], a])[0],
        ]

    def lower(self, node):
        return [elementwise(self.name, node)]


class Affine(Operator):
    """y = factor * x + offset, by the attributes `factor` and `offset`."""

    name = "affine"
    in_place = ((0, 0),)

    def infer(self, node):
        return [same(node.inputs[0])]

    def backward(self, node, gradients):
        factor = node.attributes["factor"]
        if factor == 1:
            return [gradients[0]]
        return gradients[0].graph.record("affine", [gradients[0]], factor=factor, offset=0.0)

    def lower(self, node):
        return [
            elementwise(self.name, node, [node.attributes["factor"], node.attributes["offset"]])
        ]


class Copy(Operator):
    """y = x in memory of its own."""

    name = "copy"

    def infer(self, node):
        return [same(node.inputs[0])]

    def backward(self, node, gradients):
        return [gradients[0]]

    def lower(self, node):
        return [elementwise(self.name, node)]

    def flops(self, node):
        return 0


def elementwise(kernel, node, scalars=()):
    """A kernel over consecutive elements: output, inputs, count."""
    (y,) = node.outputs
    time = elements(y) * (1 / ELEMENTS_PER_NANOSECOND)
    return Call(kernel, [y, *node.inputs], [elements(y)], list(scalars), time)
