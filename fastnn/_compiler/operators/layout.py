"""Conversions between plain images and channels-last ones (fastnn/_compiler/layout.py), and of
parameters between the order of their shape and that of a kernel.
"""

from __future__ import annotations

from fastnn._compiler.layout import CHANNELS_LAST, PLAIN
from fastnn._compiler.operators.base import (
    BATCH,
    ELEMENTS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    same,
)


class ToChannelsLast(Operator):
    """(channels, height, width) to (height, width, channels)."""

    name = "to_channels_last"
    layout = "as it is"
    opposite = "to_plain"

    def infer(self, node):
        (x,) = node.inputs
        channels, height, width = x.example_shape
        return [same(x, shape=(height, width, channels), layout=CHANNELS_LAST)]

    def backward(self, node, gradients):
        return [gradients[0].graph.record(self.opposite, gradients)[0]]

    def lower(self, node):
        (y,), (x,) = node.outputs, node.inputs
        return [convert("images_to_channels_last", y, x, y.columns, y.rows)]

    def flops(self, node):
        return 0


class ToPlain(ToChannelsLast):
    """(height, width, channels) to (channels, height, width)."""

    name = "to_plain"
    opposite = "to_channels_last"

    def infer(self, node):
        (x,) = node.inputs
        height, width, channels = x.example_shape
        return [same(x, shape=(channels, height, width), layout=PLAIN)]

    def lower(self, node):
        (y,), (x,) = node.outputs, node.inputs
        return [convert("images_to_plain", y, x, x.columns, x.rows)]


class Relabel(ToChannelsLast):
    """Either of both where there is nothing to move: one channel, or one pixel."""

    name = "relabel"
    is_view = True
    opposite = "relabel"

    def infer(self, node):
        (x,) = node.inputs
        opposite = OTHER_WAY[x.layout]
        return opposite.infer(node)

    def lower(self, node):
        return []


class Transpose(Operator):
    """Matrices transposed, of what is no batch; attributes `count`, `rows`, `columns`.

    The shape stays, so that a parameter keeps PyTorch's: only the order in memory is another.
    """

    name = "transpose"

    def infer(self, node):
        return [same(node.inputs[0])]

    def backward(self, node, gradients):
        a = node.attributes
        return gradients[0].graph.record(
            "transpose", gradients, count=a["count"], rows=a["columns"], columns=a["rows"]
        )

    def lower(self, node):
        (y,), (x,), a = node.outputs, node.inputs, node.attributes
        time = elements(x) * (2 / ELEMENTS_PER_NANOSECOND)
        sizes = [a["count"], a["rows"], a["columns"]]
        return [Call("images_to_channels_last", [y, x], sizes, [], time)]

    def flops(self, node):
        return 0


OTHER_WAY = {PLAIN: ToChannelsLast(), CHANNELS_LAST: ToPlain()}


def convert(kernel, y, x, channels, pixels):
    """A conversion of each image."""
    time = elements(x) * (2 / ELEMENTS_PER_NANOSECOND)
    return Call(kernel, [y, x], [BATCH, channels, pixels], [], time)
