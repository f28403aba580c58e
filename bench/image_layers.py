"""Single layers on images in fastnn, as they run inside a network.

Inside a network images lie channels-last, and are converted at its borders alone. A layer is
therefore compiled here from channels-last arrays to channels-last arrays, without conversions; what
its weights need before each use (they change at every step) is part of the figure. PyTorch gets
the layout that suits it best, without conversion too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnn
from fastnn import nn

FORWARD, BACKWARD, BOTH = "forward", "backward", "forward + backward"


@dataclass(frozen=True)
class ImageLayer:
    """A layer and what of it is measured.

    Parameters
    ----------
    define : called with the module that holds the layers (`fastnn.nn` or `torch.nn`)
    shape : of its input, (batch, channels, height, width)
    part : FORWARD, BACKWARD or BOTH; the backward pass gives the gradients of input, weights and
        bias
    is_first : of a network: nobody wants the gradient of its input
    """

    define: Callable[[Any], Any]
    shape: tuple[int, int, int, int]
    part: str = BOTH
    is_first: bool = False

    def module(self) -> nn.Module:
        """Built anew, always with the same weights."""
        fastnn.manual_seed(0)
        return self.define(nn)

    def arrays(self) -> tuple[NDArray, NDArray]:
        """The input and the gradient of the output."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal(self.shape, np.float32)
        out_shape = self.module().eval()(x[:1]).shape[1:]
        return x, rng.standard_normal((len(x), *out_shape), np.float32)


def channels_last(images: NDArray) -> NDArray:
    """A copy as (batch, height, width, channels), in memory that kernels may read beyond."""
    from fastnn._core.aligned import aligned_empty

    turned = images.transpose(0, 2, 3, 1)
    copy = aligned_empty(turned.size, turned.dtype).reshape(turned.shape)
    copy[...] = turned
    return copy


def channels_first(images: NDArray) -> NDArray:
    """As a user sees them."""
    return images.transpose(0, 3, 1, 2)


class Passes:
    """The compiled forward and backward pass of a layer, with arrays bound to them."""

    def __init__(self, layer: ImageLayer, x: NDArray, dy: NDArray):
        from fastnn._compiler.autodiff import differentiate
        from fastnn._compiler.compile import optimize, parameter_gradients, trainable
        from fastnn._compiler.graph import Graph, Spec
        from fastnn._compiler.layout import CHANNELS_LAST
        from fastnn._compiler.lower import lower
        from fastnn.nn.parameter import ensure_gradients

        self.module = layer.module()
        ensure_gradients(self.module.parameters())
        images, gradient = channels_last(x), channels_last(dy)

        def spec(array: NDArray) -> Spec:
            return Spec(array.shape[1:], array.dtype.name, layout=CHANNELS_LAST)

        self.graph = graph = Graph(x.dtype.name)
        self.input = graph.input("input", spec(images))
        graph.outputs = [self.module(self.input)]
        graph.forward_count = len(graph.nodes)
        seed = graph.input("gradient", spec(gradient))
        wanted = trainable(graph) if layer.is_first else [self.input, *trainable(graph)]
        differentiate(graph, {graph.outputs[0]: seed}, wanted)
        optimize(graph)
        # Either pass is run many times alone: what one left for the other has to stay.
        self.lowered = lower(
            graph, len(x), fastnn.get_num_threads(), parameter_gradients(graph), keep_all=True
        )
        self.lowered.program.load(0, images, gradient)

    def runner(self, part: str) -> Callable[[], None]:
        """A function that runs a part."""
        program = self.lowered.program
        if part != BOTH:
            return program.forward if part == FORWARD else program.backward

        def run() -> None:
            program.forward()
            program.backward()

        return run

    def results(self) -> list[NDArray]:
        """Output, gradient of the input (where wanted), gradients of the parameters."""
        self.runner(BOTH)()
        values = [self.graph.outputs[0], self.graph.gradients.get(self.input)]
        images = [channels_first(self.lowered.view(v)) for v in values if v is not None]
        return [*images, *(parameter.grad for parameter in self.module.parameters())]
