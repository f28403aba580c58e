"""Maxout: the largest of a unit's pieces."""

from __future__ import annotations

from fastnn._compiler.operators.base import (
    ELEMENTS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require,
    rows,
    same,
)


class Maxout(Operator):
    """y (..., units) = the largest of `pieces` pieces; x (..., pieces * units), piece by piece."""

    name = "maxout"
    layout = "channels"

    def infer(self, node):
        x, pieces = node.inputs[0], node.attributes["pieces"]
        require(
            len(x.example_shape) >= 1 and x.columns % pieces == 0,
            f"got {x.columns} features, expected a multiple of {pieces} pieces",
        )
        y = same(x, shape=(*x.example_shape[:-1], x.columns // pieces))
        return [y, y]

    def backward(self, node, gradients):
        return gradients[0].graph.record(
            "maxout_backward", [gradients[0], node.outputs[1]], **node.attributes
        )

    def lower(self, node):
        y, winner = node.outputs
        x = node.inputs[0]
        sizes = [rows(y), y.columns, node.attributes["pieces"]]
        time = elements(x) * (1 / ELEMENTS_PER_NANOSECOND)
        return [Call("maxout_forward", [y, winner, x], sizes, [], time)]

    def flops(self, node):
        return node.inputs[0].example_size


class MaxoutBackward(Operator):
    """dx: dy at the piece that won, zero at the others; inputs dy, winner."""

    name = "maxout_backward"
    layout = "channels"

    def infer(self, node):
        dy = node.inputs[0]
        return [same(dy, shape=(*dy.example_shape[:-1], dy.columns * node.attributes["pieces"]))]

    def lower(self, node):
        dy, winner = node.inputs
        (dx,) = node.outputs
        sizes = [rows(dy), dy.columns, node.attributes["pieces"]]
        time = elements(dx) * (1 / ELEMENTS_PER_NANOSECOND)
        return [Call("maxout_backward", [dx, dy, winner], sizes, [], time)]
