"""What joins values, takes them apart, or gives them another shape."""

from __future__ import annotations

import math

from fastnn._compiler.operators.base import (
    ELEMENTS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require,
    rows,
    same,
)


class Reshape(Operator):
    """The same elements as examples of another shape (attribute `shape`): no work at all."""

    name = "reshape"
    is_view = True
    layout = "plain"

    def infer(self, node):
        x = node.inputs[0]
        shape = tuple(node.attributes["shape"])
        require(
            math.prod(shape) == x.example_size,
            f"got {x.example_size} elements an example (shape {x.shape}), expected shape {shape}",
        )
        return [same(x, shape=shape)]

    def backward(self, node, gradients):
        x = node.inputs[0]
        return x.graph.record("reshape", [gradients[0]], shape=x.example_shape)

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
                value.example_shape[:-1] == first.example_shape[:-1]
                and len(first.example_shape) >= 1,
                f"got {first!r} and {value!r}, expected shapes that differ in the last axis only "
                "(of images, in the channels)",
            )
        width = sum(value.columns for value in node.inputs)
        return [same(first, shape=(*first.example_shape[:-1], width))]

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
        return [same(x, shape=(*x.example_shape[:-1], width))]

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
        return [same(x, shape=(*x.example_shape[:-1], node.attributes["columns"]))]

    def lower(self, node):
        (y,), (x,) = node.outputs, node.inputs
        time = elements(y) * (1 / ELEMENTS_PER_NANOSECOND)
        return [
            Call("fill", [y], [elements(y)], [0.0], time),
            copy_columns(y, x, x.columns, node.attributes["offset"], 0),
        ]


def copy_columns(y, x, width, y_offset, x_offset):
    """Copies `width` columns of x to columns of y."""
    time = rows(y) * (width / ELEMENTS_PER_NANOSECOND)
    sizes = [rows(y), width, y.columns, y_offset, x.columns, x_offset]
    return Call("copy_columns", [y, x], sizes, [], time)
