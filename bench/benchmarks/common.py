"""What the benchmarks share: networks and data for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import fastnn
from fastnn import models, nn, optim


def network(widths: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    """Fully connected layers with ReLU between them, always with the same weights."""
    fastnn.manual_seed(0)
    return models.mlp(widths, batch_norm=batch_norm)


def examples(widths: tuple[int, ...], count: int) -> tuple[NDArray, NDArray]:
    """Random examples and labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, widths[0]), dtype=np.float32)
    return x, rng.integers(0, widths[-1], count)


def training_step(widths: tuple[int, ...], batch_norm: bool) -> fastnn.TrainingStep:
    """A network with a loss and SGD with momentum."""
    optimizer = optim.SGD(lr=0.01, momentum=0.9)
    return fastnn.TrainingStep(network(widths, batch_norm), nn.CrossEntropyLoss(), optimizer)
