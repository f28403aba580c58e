"""The networks that are measured, in fastnn, with the data for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import fastnn
from fastnn import models, nn, optim

LEARNING_RATE, MOMENTUM = 0.01, 0.9
CHECKED_STEPS = 3

Batch = tuple[NDArray, NDArray]


@dataclass(frozen=True)
class Network:
    """Fully connected layers with ReLU between them, and BatchNorm before each if so wished.

    Parameters
    ----------
    widths : from the input to the classes
    batch : examples in a step
    batches : how many different batches there are
    """

    widths: tuple[int, ...]
    batch: int
    batch_norm: bool = False
    batches: int = 8

    def model(self) -> nn.Sequential:
        """Built anew, always with the same weights."""
        fastnn.manual_seed(0)
        return models.mlp(self.widths, batch_norm=self.batch_norm)

    def data(self) -> Batch:
        """All examples, float32, and their labels, drawn at random."""
        rng = np.random.default_rng(0)
        examples = self.batch * self.batches
        x = rng.standard_normal((examples, self.widths[0]), dtype=np.float32)
        return x, rng.integers(0, self.widths[-1], examples)

    def split(self) -> list[Batch]:
        """The batches, in order."""
        x, y = self.data()
        starts = range(0, len(x), self.batch)
        return [(x[s : s + self.batch], y[s : s + self.batch]) for s in starts]

    def product_flops(self) -> int:
        """Operations of a step's matrix products; the first layer has no input gradient."""
        sizes = [2 * self.batch * a * b for a, b in itertools.pairwise(self.widths)]
        return 3 * sum(sizes) - sizes[0]


def training_step(network: Network) -> fastnn.TrainingStep:
    """A new model with its optimizer."""
    optimizer = optim.SGD(lr=LEARNING_RATE, momentum=MOMENTUM)
    return fastnn.TrainingStep(network.model(), nn.CrossEntropyLoss(), optimizer)


def over_batches(step: Callable[..., object], batches: list) -> Callable[[], object]:
    """A function without arguments that takes the next batch, round and round."""
    rotation: Iterator = itertools.cycle(batches)

    def run() -> object:
        x, y = next(rotation)
        return step(x, y)

    return run


def first_losses(step: Callable[..., float], batches: list) -> list[float]:
    """Losses of the first steps, to compare libraries before they are timed."""
    return [float(step(x, y)) for x, y in batches[:CHECKED_STEPS]]


def inference(network: Network, x: NDArray) -> Callable[[], NDArray]:
    """A function that computes the logits of `x`."""
    model = network.model().eval()
    return lambda: model(x)


def gradient_program(module: nn.Module, x: NDArray, dy: NDArray):
    """The module's compiled forward and backward pass with `x` and `dy` bound to it."""
    from fastnn._compiler import compile_gradient
    from fastnn.nn.execution import input_spec, layer_names
    from fastnn.nn.parameter import ensure_gradients

    ensure_gradients(p for p in module.parameters() if p.requires_grad)
    compiled = compile_gradient(
        module, [input_spec(x, x.dtype)], ["input"], x.dtype.name, len(x), layer_names(module)
    )
    compiled.lowered.program.load(0, x, dy)
    return compiled.lowered


def forward_backward(lowered) -> Callable[[], None]:
    """A function that runs both passes of a `gradient_program`."""
    program = lowered.program

    def run() -> None:
        program.forward()
        program.backward()

    return run


def output_and_gradient(lowered) -> list[NDArray]:
    """What a run left: the output and the gradient of the input."""
    graph = lowered.graph
    found = (graph.outputs[0], graph.gradients[graph.inputs[0]])
    return [lowered.view(value).copy() for value in found]
