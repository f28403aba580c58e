"""Images framed by zeros, normalized across neighbouring channels, without some of the channels."""

from __future__ import annotations

from fastnn._compiler.operators.base import (
    BATCH,
    ELEMENTS_PER_NANOSECOND,
    EXPONENTIALS_PER_NANOSECOND,
    ITEMSIZES,
    Call,
    Operator,
    elements,
    require,
    rows,
    same,
)
from fastnn._compiler.operators.pooling import require_image
from fastnn._compiler.operators.structure import Dropout


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
        *(BATCH, inner.shape[0], inner.shape[1] * channels, top, left * channels),
        *(outer.shape[0], outer.shape[1] * channels),
    ]
    time = elements(outer) * (1 / ELEMENTS_PER_NANOSECOND)
    return Call(kernel, [node.outputs[0], node.inputs[0]], sizes, [], time)


class LocalResponse(Operator):
    """y = x (k + alpha / size * sum of x^2 over `size` neighbouring channels)^-beta.

    Attributes: `size`, `alpha`, `beta`, `k`.
    """

    name = "local_response"
    layout = "channels"
    kernel = "local_response_forward"

    def infer(self, node):
        x = node.inputs[-1]
        require(
            len(x.shape) >= 1, "got an input of shape (batch,), expected (batch, channels, ...)"
        )
        return [same(x)]

    def backward(self, node, gradients):
        x = node.inputs[0]
        return x.graph.record("local_response_backward", [gradients[0], x], **node.attributes)

    def lower(self, node):
        x = node.inputs[-1]
        attributes = node.attributes
        time = elements(x) * (2 / EXPONENTIALS_PER_NANOSECOND)
        # Two copies of a pixel with room for a window and two vectors (kernels/local_response.pyx).
        workspace = 2 * (x.columns + attributes["size"] + 2 * 16) * ITEMSIZES[x.dtype]
        return [
            Call(
                self.kernel,
                [node.outputs[0], *node.inputs],
                [rows(x), x.columns, attributes["size"]],
                [attributes["alpha"], attributes["beta"], attributes["k"]],
                time,
                workspace,
            )
        ]

    def flops(self, node):
        return node.inputs[0].size * (node.attributes["size"] + 4)


class LocalResponseBackward(LocalResponse):
    """dx; inputs dy, x."""

    name = "local_response_backward"
    kernel = "local_response_backward"


class DropoutChannels(Dropout):
    """Dropout of whole channels: one random number for each channel of each image."""

    name = "dropout_channels"
    layout = "channels"
    kernel = "dropout_channels_forward"

    def infer(self, node):
        (x,) = node.inputs
        require_image(x)
        return [same(x)]

    def backward(self, node, gradients):
        return gradients[0].graph.record(
            "dropout_channels_backward", [gradients[0]], **node.attributes
        )

    def lower(self, node):
        (y,), (x,) = node.outputs, node.inputs
        sizes = [BATCH, x.rows, x.columns, node.attributes["salt"]]
        time = elements(y) * (1 / ELEMENTS_PER_NANOSECOND)
        return [Call(self.kernel, [y, x], sizes, [node.attributes["p"]], time)]


class DropoutChannelsBackward(DropoutChannels):
    """dx = dy / (1 - p) in the channels that were kept, else 0, by the same mask."""

    name = "dropout_channels_backward"
    kernel = "dropout_channels_backward"
