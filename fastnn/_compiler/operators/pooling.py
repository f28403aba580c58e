"""Pooling: the largest or the average element of windows of an image."""

from __future__ import annotations

from fastnn._compiler.graph import Buffer
from fastnn._compiler.operators.base import (
    BATCH,
    ELEMENTS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require,
    require_image,
    same,
)
from fastnn._compiler.windows import Windows, adaptive_windows, sliding_windows

# The number of a winning tap is kept in 16 bits.
MOST_TAPS = 1 << 16


def windows_of(image, attributes) -> list[Windows]:
    """The windows of both axes of an image (height, width), by the attributes of a node."""
    if "kernel" not in attributes:
        return [
            adaptive_windows(length, out_length)
            for length, out_length in zip(image, attributes["output_size"], strict=True)
        ]
    return [
        sliding_windows(
            length, **{name: attributes[name][axis] for name in SLIDING if name in attributes}
        )
        for axis, length in enumerate(image)
    ]


# Attributes that are pairs: arguments of sliding_windows for either axis.
SLIDING = ("kernel", "stride", "padding", "dilation", "ceil_mode", "count_padding")


def pool_call(kernel, data, windows, x, y, scalars=()):
    """A step of pooling: x are the values at the input's pixels, y those at the output's."""
    tables = [
        x.graph.source(Buffer(table), table.shape, "int64")
        for table in (axis.tables() for axis in windows)
    ]
    rows, columns = windows
    overlaps = not all(axis.are_apart() for axis in windows)
    has_gaps = any(axis.least_covers() < 1 for axis in windows)
    sizes = [
        *(BATCH, x.columns, columns.kernel, int(overlaps), int(has_gaps)),
        *(*rows.sizes(), *columns.sizes()),
    ]
    taps = sum(len(r) * len(c) for r in rows.taps[:1] for c in columns.taps[:1])
    time = (elements(y) * taps) * (2 / ELEMENTS_PER_NANOSECOND)
    return Call(kernel, [*data, *tables], sizes, list(scalars), time)


class MaxPool(Operator):
    """y = the largest element of each window, by channel; outputs y and, where somebody reads it,
    the tap that won.

    Attributes, for both axes: `kernel`, `stride`, `padding`, `dilation`, `ceil_mode`.
    """

    name = "max_pool"
    layout = "channels"

    def infer(self, node):
        (x,) = node.inputs
        windows = windows_of(require_image(x), node.attributes)
        taps = windows[0].kernel * windows[1].kernel
        require(taps <= MOST_TAPS, f"got a kernel of {taps} elements, expected {MOST_TAPS} at most")
        y = same(x, shape=(*(axis.out_length for axis in windows), x.columns))
        return [y, same(x, shape=y.shape, dtype="uint16")]

    def skip_outputs(self, node, unread):
        if 1 in unread:
            del node.outputs[1]

    def backward(self, node, gradients):
        x = node.inputs[0]
        return x.graph.record(
            "max_pool_backward",
            [gradients[0], node.outputs[1]],
            image=x.example_shape[:2],
            **node.attributes,
        )

    def lower(self, node):
        (x,), (y, *winner) = node.inputs, node.outputs
        windows = windows_of(x.example_shape[:2], node.attributes)
        data = [y, winner[0] if winner else None, x]
        return [pool_call("max_pool_forward", data, windows, x, y)]

    def flops(self, node):
        windows = windows_of(node.inputs[0].example_shape[:2], node.attributes)
        return taps_on_image(node.inputs[0], windows)  # a comparison for each


class MaxPoolBackward(Operator):
    """dx = dy at the taps that won, summed; inputs dy, winner; attribute `image`: size of dx."""

    name = "max_pool_backward"
    layout = "channels"

    def infer(self, node):
        dy = node.inputs[0]
        return [same(dy, shape=(*node.attributes["image"], dy.columns))]

    def lower(self, node):
        dy, winner = node.inputs
        (dx,) = node.outputs
        windows = windows_of(node.attributes["image"], node.attributes)
        return [pool_call("max_pool_backward", [dx, dy, winner], windows, dx, dy)]

    def flops(self, node):
        return node.inputs[0].example_size


class AveragePool(Operator):
    """y = the average of each window, by channel.

    Attributes, for both axes: `kernel`, `stride`, `padding`, `ceil_mode`, `count_padding`, or
    `output_size` alone (adaptive); and `divisor`: what each sum is divided by, or 0 for the size of
    its window.
    """

    name = "average_pool"
    layout = "channels"

    def infer(self, node):
        (x,) = node.inputs
        windows = windows_of(require_image(x), node.attributes)
        return [same(x, shape=(*(axis.out_length for axis in windows), x.columns))]

    def backward(self, node, gradients):
        x = node.inputs[0]
        return x.graph.record(
            "average_pool_backward", gradients, image=x.example_shape[:2], **node.attributes
        )

    def lower(self, node):
        (x,), (y,) = node.inputs, node.outputs
        windows = windows_of(x.example_shape[:2], node.attributes)
        return [
            pool_call("average_pool_forward", [y, x], windows, x, y, [node.attributes["divisor"]])
        ]

    def flops(self, node):
        (x,) = node.inputs
        return taps_on_image(x, windows_of(x.example_shape[:2], node.attributes))


class AveragePoolBackward(Operator):
    """dx = each window's dy, divided, summed over windows; attribute `image`: the size of dx."""

    name = "average_pool_backward"
    layout = "channels"

    def infer(self, node):
        (dy,) = node.inputs
        return [same(dy, shape=(*node.attributes["image"], dy.columns))]

    def lower(self, node):
        (dy,), (dx,) = node.inputs, node.outputs
        windows = windows_of(node.attributes["image"], node.attributes)
        return [
            pool_call(
                "average_pool_backward", [dx, dy], windows, dx, dy, [node.attributes["divisor"]]
            )
        ]

    def flops(self, node):
        dy = node.inputs[0]
        return taps_on_image(dy, windows_of(node.attributes["image"], node.attributes))


def taps_on_image(image, windows):
    """Taps that lie on an image, over all windows and channels: an operation for each."""
    rows, columns = (sum(len(taps) for taps in axis.taps) for axis in windows)
    return rows * columns * image.columns


class Upsample(AveragePoolBackward):
    """y = x with every pixel repeated `factor` (height, width) times: a pooling's backward pass."""

    name = "upsample"

    def infer(self, node):
        (x,) = node.inputs
        height, width = require_image(x)
        down, across = node.attributes["factor"]
        node.attributes |= {
            **{"kernel": (down, across), "stride": (down, across), "divisor": 1.0},
            "image": (height * down, width * across),
        }
        return super().infer(node)

    def backward(self, node, gradients):
        attributes = {name: node.attributes[name] for name in ("kernel", "stride", "divisor")}
        return gradients[0].graph.record("average_pool", gradients, **attributes)

    def flops(self, node):
        return 0
