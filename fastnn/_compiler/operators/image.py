"""Images inside a frame of zeros, and out of it."""

from __future__ import annotations

from fastnn._compiler.operators.base import (
    BATCH,
    ELEMENTS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require_image,
    same,
)


class Pad(Operator):
    """y = x inside a frame of zeros, by the attribute `frame`: (left, right, top, bottom)."""

    name = "pad"
    layout = "channels"

    def infer(self, node):
        (x,) = node.inputs
        height, width = require_image(x)
        left, right, top, bottom = node.attributes["frame"]
        return [same(x, shape=(top + height + bottom, left + width + right, x.columns))]

    def backward(self, node, gradients):
        return gradients[0].graph.record("crop", gradients, **node.attributes)

    def lower(self, node):
        (x,), (y,) = node.inputs, node.outputs
        return [frame_call("pad_images", node, x, y)]

    def flops(self, node):
        return 0


class Crop(Operator):
    """y = x without its frame, by the attribute `frame`: (left, right, top, bottom)."""

    name = "crop"
    layout = "channels"

    def infer(self, node):
        (x,) = node.inputs
        height, width = require_image(x)
        left, right, top, bottom = node.attributes["frame"]
        return [same(x, shape=(height - top - bottom, width - left - right, x.columns))]

    def lower(self, node):
        (x,), (y,) = node.inputs, node.outputs
        return [frame_call("crop_images", node, y, x)]


def frame_call(kernel, node, inner, outer):
    """A step that copies to or from the inside of a frame."""
    left, _, top, _ = node.attributes["frame"]
    channels = inner.columns
    sizes = [
        *(BATCH, inner.example_shape[0], inner.example_shape[1] * channels, top, left * channels),
        *(outer.example_shape[0], outer.example_shape[1] * channels),
    ]
    time = elements(outer) * (1 / ELEMENTS_PER_NANOSECOND)
    return Call(kernel, [node.outputs[0], node.inputs[0]], sizes, [], time)
