"""What joins values or gives them another shape, and elementwise arithmetic."""

from __future__ import annotations

import math

from fastnn._compiler.activations import KINDS
from fastnn._compiler.operators.activation import activation_time
from fastnn._compiler.operators.base import (
    ELEMENTS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require,
    rows,
    same,
)
from fastnn._compiler.operators.linear import activation_of


class Add(Operator):
    """y = f(a + b), of the same shape; f by the attribute `activation`, where there is one."""

    name = "add"
    in_place = ((0, 0), (0, 1))

    def infer(self, node):
        a, b = node.inputs
        require(
            a.shape == b.shape and a.batched == b.batched,
            f"got {a!r} and {b!r}, expected two values of one shape",
        )
        return [same(a)]

    def backward(self, node, gradients):
        return [gradients[0], gradients[0]]

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


class Multiply(Add):
    """y = a * b, elementwise, of the same shape."""

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


class Reshape(Operator):
    """The same elements as examples of another shape (attribute `shape`): no work at all."""

    name = "reshape"
    is_view = True
    layout = "plain"

    def infer(self, node):
        x = node.inputs[0]
        shape = tuple(node.attributes["shape"])
        require(
            math.prod(shape) == x.size,
            f"got {x.size} elements an example (shape {x.shape}), expected shape {shape}",
        )
        return [same(x, shape=shape)]

    def backward(self, node, gradients):
        x = node.inputs[0]
        return x.graph.record("reshape", [gradients[0]], shape=x.shape)

    def lower(self, node):
        return []

    def flops(self, node):
        return 0


class Concatenate(Operator):
    """y (..., sum of widths) = the inputs beside each other along the last axis."""

    name = "concatenate"
    layout = "channels"

    def infer(self, node):
        first, *others = node.inputs
        for value in others:
            require(
                value.shape[:-1] == first.shape[:-1] and len(first.shape) >= 1,
                f"got {first!r} and {value!r}, expected shapes that differ in the last axis only "
                "(of images, in the channels)",
            )
        width = sum(value.columns for value in node.inputs)
        return [same(first, shape=(*first.shape[:-1], width))]

    def backward(self, node, gradients):
        (dy,) = gradients
        results, offset = [], 0
        for value in node.inputs:
            results += dy.graph.record("slice", [dy], offset=offset, width=value.columns)
            offset += value.columns
        return results

    def lower(self, node):
        (y,) = node.outputs
        calls, offset = [], 0
        for x in node.inputs:
            calls.append(copy_columns(y, x, x.columns, offset, 0))
            offset += x.columns
        return calls

    def flops(self, node):
        return 0


class Slice(Operator):
    """y (..., width) = x[..., offset:offset + width]."""

    name = "slice"
    layout = "channels"

    def infer(self, node):
        x = node.inputs[0]
        offset, width = node.attributes["offset"], node.attributes["width"]
        require(
            0 <= offset and 1 <= width and offset + width <= x.columns,
            f"got columns {offset} to {offset + width}, expected columns of 0 to {x.columns}",
        )
        return [same(x, shape=(*x.shape[:-1], width))]

    def backward(self, node, gradients):
        attributes = dict(node.attributes, columns=node.inputs[0].columns)
        return gradients[0].graph.record("unslice", [gradients[0]], **attributes)

    def lower(self, node):
        attributes = node.attributes
        return [
            copy_columns(
                node.outputs[0], node.inputs[0], attributes["width"], 0, attributes["offset"]
            )
        ]

    def flops(self, node):
        return 0


class Unslice(Operator):
    """y (..., columns) = x at columns `offset` to `offset + width`, zero elsewhere."""

    name = "unslice"
    layout = "channels"

    def infer(self, node):
        x = node.inputs[0]
        return [same(x, shape=(*x.shape[:-1], node.attributes["columns"]))]

    def lower(self, node):
        (y,), (x,) = node.outputs, node.inputs
        time = elements(y) * (1 / ELEMENTS_PER_NANOSECOND)
        return [
            Call("fill", [y], [elements(y)], [0.0], time),
            copy_columns(y, x, x.columns, node.attributes["offset"], 0),
        ]


class Maxout(Operator):
    """y (..., units) = the largest of `pieces` pieces; x (..., pieces * units), piece by piece."""

    name = "maxout"
    layout = "channels"

    def infer(self, node):
        x, pieces = node.inputs[0], node.attributes["pieces"]
        require(
            len(x.shape) >= 1 and x.columns % pieces == 0,
            f"got {x.columns} features, expected a multiple of {pieces} pieces",
        )
        y = same(x, shape=(*x.shape[:-1], x.columns // pieces))
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
        return node.inputs[0].size


class MaxoutBackward(Operator):
    """dx: dy at the piece that won, zero at the others; inputs dy, winner."""

    name = "maxout_backward"
    layout = "channels"

    def infer(self, node):
        dy = node.inputs[0]
        return [same(dy, shape=(*dy.shape[:-1], dy.columns * node.attributes["pieces"]))]

    def lower(self, node):
        dy, winner = node.inputs
        (dx,) = node.outputs
        sizes = [rows(dy), dy.columns, node.attributes["pieces"]]
        time = elements(dx) * (1 / ELEMENTS_PER_NANOSECOND)
        return [Call("maxout_backward", [dx, dy, winner], sizes, [], time)]


class Dropout(Operator):
    """y = x / (1 - p) where kept, else 0; attributes `p` and `salt` (which layer it is).

    The mask is not stored: it is a function of the run's random key, the salt and the position,
    and backward computes it again.
    """

    name = "dropout"
    in_place = ((0, 0),)
    kernel = "dropout_forward"

    def infer(self, node):
        return [same(node.inputs[0])]

    def backward(self, node, gradients):
        return gradients[0].graph.record("dropout_backward", [gradients[0]], **node.attributes)

    def lower(self, node):
        (y,), (x,) = node.outputs, node.inputs
        sizes = [elements(y), node.attributes["salt"]]
        time = elements(y) * (2 / ELEMENTS_PER_NANOSECOND)
        return [Call(self.kernel, [y, x], sizes, [node.attributes["p"]], time)]


class DropoutBackward(Dropout):
    """dx = dy / (1 - p) where kept, else 0, by the same mask."""

    name = "dropout_backward"
    kernel = "dropout_backward"


def elementwise(kernel, node, scalars=()):
    """A kernel over consecutive elements: output, inputs, count."""
    (y,) = node.outputs
    time = elements(y) * (1 / ELEMENTS_PER_NANOSECOND)
    return Call(kernel, [y, *node.inputs], [elements(y)], list(scalars), time)


def copy_columns(y, x, width, y_offset, x_offset):
    """Copies `width` columns of x to columns of y."""
    time = rows(y) * (width / ELEMENTS_PER_NANOSECOND)
    sizes = [rows(y), width, y.columns, y_offset, x.columns, x_offset]
    return Call("copy_columns", [y, x], sizes, [], time)
