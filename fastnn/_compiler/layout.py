"""Layout: images lie channels-last in a program, and plain (channels first) where users see them.

An example of three axes is an image. Inside, it lies as (height, width, channels), so that a
channel is a column: what works by columns (bias, batch normalization, PReLU, concatenation) works
by channels, and the elements that a convolution multiplies lie side by side.
`Value.example_shape` is always the shape in memory; `Value.layout` tells its order.

Conversions are recorded where an operator is recorded (`Graph.record`), by what it asks for:

===========  ====================================================================================
`any`        elementwise: takes whatever there is, the same for all its inputs
`channels`   works by channels, which are the last axis of an image
`plain`      looks at an example as PyTorch lays it out (flatten, linear, softmax, labels)
`as it is`   a conversion
===========  ====================================================================================

Being nodes like others, they have a backward rule (each is the other's), are never computed twice
for one value, and are views where there is nothing to move (one channel, or one pixel).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from fastnn._compiler.graph import Graph, Value
    from fastnn._compiler.operators.base import Operator

PLAIN, CHANNELS_LAST = "plain", "channels_last"


def is_image(value: Value | None) -> TypeGuard[Value]:
    """Whether a value is a batch of images."""
    return value is not None and value.batched and len(value.example_shape) == 3


def arrange(graph: Graph, operator: Operator, inputs: Iterable[Value | None]) -> list[Value | None]:
    """The inputs in the layout that an operator asks for, with conversions recorded."""
    inputs = list(inputs)
    images = [value for value in inputs if is_image(value)]
    if not images or operator.layout == "as it is":
        return inputs
    wanted = PLAIN
    if operator.layout == "channels" or (
        operator.layout == "any" and any(value.layout == CHANNELS_LAST for value in images)
    ):
        wanted = CHANNELS_LAST
    return [in_layout(graph, value, wanted) if is_image(value) else value for value in inputs]


def in_layout(graph: Graph, value: Value, wanted: str) -> Value:
    """The value itself, or its conversion, recorded once."""
    if value.layout == wanted:
        return value
    if value.converted is None:
        name = "to_channels_last" if wanted == CHANNELS_LAST else "to_plain"
        channels, height, width = seen_shape(value)
        if channels == 1 or height * width == 1:
            name = "relabel"
        (value.converted,) = graph.record(name, [value])
        value.converted.converted = value
    return value.converted


def seen_shape(value: Value) -> tuple[int, ...]:
    """The shape of an example as users see it: channels first."""
    if value.layout == CHANNELS_LAST:
        height, width, channels = value.example_shape
        return channels, height, width
    return value.example_shape
