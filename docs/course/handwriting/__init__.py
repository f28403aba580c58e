"""The handwritten digits that the chapters of the course train on.

MNIST where it is found: in the folder that the environment variable ``FASTNN_MNIST`` names, or in
``../shared/data/mnist`` beside the project. Without it, the small digits that come with fastnn.
Both are flat images of bytes, 0 for paper and 255 for ink, so that a chapter is the same for both;
only its figures differ, and it prints which of the two it has.

This is a package, not a file beside the chapters, so that the gallery does not take it for one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "mnist"
# Grey levels of the embedded digits, which are brought to those of MNIST.
DARKEST = 16


@dataclass(frozen=True)
class Digits:
    """Images of shape (N, side * side) and their labels, for training and for the final test."""

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def features(self) -> int:
        """Pixels of an image."""
        return self.X_train.shape[1]

    @property
    def side(self) -> int:
        """Pixels along an edge."""
        return round(self.features**0.5)

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.X_train)} training and {len(self.X_test)} test images of "
            f"{self.side} x {self.side} pixels"
        )


def load(most: int | None = None) -> Digits:
    """The digits; of the training images the first `most`."""
    folder = Path(os.environ.get("FASTNN_MNIST", BESIDE_THE_PROJECT))
    if folder.is_dir():
        (X, y), (X_test, y_test) = fastnn.datasets.mnist(folder, flatten=True)
        return Digits("MNIST", X[:most], y[:most], X_test, y_test)
    X, y = fastnn.datasets.digits()
    X = (X.astype(np.uint16) * 255 // DARKEST).astype(np.uint8)
    X, X_test, y, y_test = fastnn.datasets.train_test_split(X, y, test_size=0.2, seed=0)
    name = "the digits that come with fastnn (MNIST is not here; FASTNN_MNIST may name its folder)"
    return Digits(name, X[:most], y[:most], X_test, y_test)
