"""Dropout of single elements, and of whole channels of images."""

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


class Dropout(Operator):
    """y = x / (1 - p) where kept, else 0; attributes `p` and `salt` (which layer it is).

    The mask is not stored: it is a function of the run's random key, the salt and the position,
    and backward computes it again.
    """

    name = "dropout"
    is_random = True
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
