"""What is learned in `learning.py`: data, networks in either library, recipes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnn
from fastnn import datasets

CLASSES = 10


@dataclass
class Data:
    """Images to train on (of bytes, if they are augmented) and to test on, with their labels."""

    train: NDArray
    train_labels: NDArray
    test: NDArray
    test_labels: NDArray
    augment: datasets.Augment | None = None


@dataclass
class Task:
    """A data set, a network and how it is trained.

    Parameters
    ----------
    network : builds the network from a library's `nn`, with the same names in both
    read : the data, from its folder
    folder : name of the option that gives the folder, or None
    decay : whether the learning rate goes to zero, by the cosine of the epoch
    """

    name: str
    network: Callable[[Any], Any]
    read: Callable[[str], Data]
    folder: str | None
    epochs: int
    batch: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay: bool = False
    is_of_images: bool = False
    data: Data = field(init=False)

    def load(self, folder: str) -> None:
        """Reads the data."""
        self.data = self.read(folder)


def cosine(task: Task, epoch: int, epochs: int) -> float:
    """The learning rate of an epoch (Loshchilov and Hutter, 2017)."""
    return task.lr * (1 + math.cos(math.pi * epoch / epochs)) / 2


# Data


def scaled(train: NDArray, test: NDArray, largest: float) -> tuple[NDArray, NDArray]:
    """Pixels with mean 0 and deviation 1 over all pixels of the training images."""
    train, test = (images.astype(np.float32) / np.float32(largest) for images in (train, test))
    mean, deviation = train.mean(dtype=np.float64), train.std(dtype=np.float64)
    return tuple(((part - mean) / deviation).astype(np.float32) for part in (train, test))


def digits(_: str) -> Data:
    """The embedded digits, a fifth held out."""
    x, y = datasets.digits()
    train, test, train_labels, test_labels = datasets.train_test_split(x, y, 0.2, seed=0)
    train, test = scaled(train, test, 16)
    return Data(train, train_labels, test, test_labels)


def mnist(folder: str, flatten: bool) -> Data:
    """All there are."""
    (train, train_labels), (test, test_labels) = datasets.mnist(folder, flatten=flatten)
    train, test = scaled(train, test, 255)
    return Data(train, train_labels, test, test_labels)


def cifar10(folder: str) -> Data:
    """All there are, with crops and mirror images."""
    (train, train_labels), (test, test_labels) = datasets.cifar10(folder)
    pixels = train / np.float32(255)
    augment = datasets.Augment(4, True, pixels.mean((0, 2, 3)), pixels.std((0, 2, 3)))
    return Data(train, train_labels, augment.normalize(test), test_labels, augment)


# Networks


def mlp(widths: tuple[int, ...], kinds: Any) -> Any:
    """Fully connected, with BatchNorm and ReLU."""
    layers = []
    for inputs, outputs in itertools.pairwise(widths[:-1]):
        layers += [kinds.Linear(inputs, outputs), kinds.BatchNorm1d(outputs), kinds.ReLU()]
    return kinds.Sequential(*layers, kinds.Linear(*widths[-2:]))


def lenet(kinds: Any) -> Any:
    """`fastnn.models.lenet5`."""
    return kinds.Sequential(
        kinds.Conv2d(1, 20, 5),
        kinds.MaxPool2d(2),
        kinds.Conv2d(20, 50, 5),
        kinds.MaxPool2d(2),
        kinds.Flatten(),
        kinds.Linear(800, 500),
        kinds.ReLU(),
        kinds.Linear(500, CLASSES),
    )


def small_vgg(kinds: Any) -> Any:
    """`fastnn.models.vgg("cifar")`, with its initial weights in fastnn."""
    if kinds is fastnn.nn:
        model = fastnn.models.vgg("cifar")
        return kinds.Sequential(*model.features, kinds.Flatten(), *model.classifier)
    layers: list = []
    channels = 3
    for maps in (32, 32, "pool", 64, 64, "pool", 128, 128, "pool"):
        if maps == "pool":
            layers.append(kinds.MaxPool2d(2))
            continue
        layers += [kinds.Conv2d(channels, maps, 3, padding=1), kinds.BatchNorm2d(maps)]
        layers.append(kinds.ReLU())
        channels = maps
    classifier = [kinds.Linear(2048, 256), kinds.ReLU(), kinds.Dropout(0), kinds.Linear(256, 10)]
    return kinds.Sequential(*layers, kinds.Flatten(), *classifier)


TASKS = {
    "digits": Task(
        "digits", lambda kinds: mlp((64, 256, 128, CLASSES), kinds), digits, None, 10, 128, 0.1
    ),
    "mnist": Task(
        "MNIST",
        lambda kinds: mlp((784, 256, 128, CLASSES), kinds),
        lambda folder: mnist(folder, flatten=True),
        "mnist",
        epochs=10,
        batch=128,
        lr=0.1,
    ),
    "lenet": Task(
        "MNIST, LeNet",
        lenet,
        lambda folder: mnist(folder, flatten=False),
        "mnist",
        # Rate, batch and decay were chosen on the last 4,435 of the training images.
        epochs=15,
        batch=32,
        lr=0.02,
        weight_decay=1e-3,
        decay=True,
        is_of_images=True,
    ),
    "cifar10": Task(
        "CIFAR-10, VGG",
        small_vgg,
        cifar10,
        "cifar10",
        epochs=30,
        batch=64,
        lr=0.05,
        weight_decay=5e-4,
        decay=True,
        is_of_images=True,
    ),
}
