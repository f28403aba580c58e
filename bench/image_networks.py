"""The convolutional networks that are measured: one definition each, for fastnn and for PyTorch.

A definition takes the module that holds the layers (`fastnn.nn` or `torch.nn`), whose names and
arguments are the same, so that neither library gets another network than the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from networks import Batch

import fastnn
from fastnn import nn

VGG_LAYERS = (32, 32, "pool", 64, 64, "pool", 128, 128, "pool")


def vgg(layers: Any) -> Any:
    """Three blocks of two 3 x 3 convolutions with BatchNorm and ReLU, for 32 x 32 images."""
    parts, channels = [], 3
    for width in VGG_LAYERS:
        if width == "pool":
            parts.append(layers.MaxPool2d(2))
            continue
        parts += [layers.Conv2d(channels, width, 3, padding=1), layers.BatchNorm2d(width)]
        parts.append(layers.ReLU())
        channels = width
    parts += [layers.Flatten(), layers.Linear(channels * 4 * 4, 256), layers.ReLU()]
    return layers.Sequential(*parts, layers.Linear(256, 10))


def lenet(layers: Any) -> Any:
    """Caffe's LeNet, for 28 x 28 images of one channel."""
    return layers.Sequential(
        *(layers.Conv2d(1, 20, 5), layers.MaxPool2d(2)),
        *(layers.Conv2d(20, 50, 5), layers.MaxPool2d(2)),
        *(layers.Flatten(), layers.Linear(800, 500), layers.ReLU(), layers.Linear(500, 10)),
    )


def alexnet(layers: Any) -> Any:
    """torchvision's AlexNet without its two dropouts, so that losses can be compared."""
    relu = layers.ReLU
    return layers.Sequential(
        *(layers.Conv2d(3, 64, 11, stride=4, padding=2), relu(), layers.MaxPool2d(3, 2)),
        *(layers.Conv2d(64, 192, 5, padding=2), relu(), layers.MaxPool2d(3, 2)),
        *(layers.Conv2d(192, 384, 3, padding=1), relu()),
        *(layers.Conv2d(384, 256, 3, padding=1), relu()),
        *(layers.Conv2d(256, 256, 3, padding=1), relu(), layers.MaxPool2d(3, 2)),
        layers.Flatten(),
        *(layers.Linear(256 * 6 * 6, 4096), relu(), layers.Linear(4096, 4096), relu()),
        layers.Linear(4096, 1000),
    )


def residual_block(layers: Any, channels: int, filters: int, stride: int) -> Any:
    """Two 3 x 3 convolutions beside the identity, or beside a 1 x 1 convolution."""

    class Block(layers.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = layers.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.bn1 = layers.BatchNorm2d(filters)
            self.conv2 = layers.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.bn2 = layers.BatchNorm2d(filters)
            self.relu = layers.ReLU()
            self.shortcut = None
            if stride != 1 or channels != filters:
                shortcut = layers.Conv2d(channels, filters, 1, stride, bias=False)
                self.shortcut = layers.Sequential(shortcut, layers.BatchNorm2d(filters))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.shortcut is None else self.shortcut(x)))

    return Block()


def residual_stages(layers: Any, widths: tuple[int, ...], blocks: int) -> list:
    """Stages of blocks; each but the first begins by halving the image."""
    parts, channels = [], widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            parts.append(residual_block(layers, channels, width, stride))
            channels = width
    return parts


def resnet20(layers: Any) -> Any:
    """The residual network for CIFAR, with 1 x 1 convolutions where the width changes."""
    return layers.Sequential(
        *(layers.Conv2d(3, 16, 3, padding=1, bias=False), layers.BatchNorm2d(16), layers.ReLU()),
        *residual_stages(layers, (16, 32, 64), 3),
        *(layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(64, 10)),
    )


def resnet18(layers: Any) -> Any:
    """The smallest residual network for ImageNet."""
    return layers.Sequential(
        layers.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        *(layers.BatchNorm2d(64), layers.ReLU(), layers.MaxPool2d(3, 2, 1)),
        *residual_stages(layers, (64, 128, 256, 512), 2),
        *(layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(512, 1000)),
    )


@dataclass(frozen=True)
class ImageNetwork:
    """A network with the batches that it is measured with.

    Parameters
    ----------
    define : called with the module that holds the layers
    image : (channels, height, width)
    classes : of the labels
    batch : examples in a step
    batches : how many different batches there are
    """

    define: Callable[[Any], Any]
    image: tuple[int, int, int]
    classes: int
    batch: int
    batches: int = 4

    def model(self) -> nn.Module:
        """Built anew, always with the same weights."""
        fastnn.manual_seed(0)
        return self.define(nn)

    def split(self) -> list[Batch]:
        """The batches, drawn at random."""
        rng = np.random.default_rng(0)
        shape = (self.batch, *self.image)
        return [
            (rng.standard_normal(shape, np.float32), rng.integers(0, self.classes, self.batch))
            for _ in range(self.batches)
        ]


CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)
VGG = ImageNetwork(vgg, CIFAR, 10, 64)
LENET = ImageNetwork(lenet, (1, 28, 28), 10, 64)
RESNET20 = ImageNetwork(resnet20, CIFAR, 10, 128)
ALEXNET = ImageNetwork(alexnet, IMAGENET, 1000, 16)
RESNET18 = ImageNetwork(resnet18, IMAGENET, 1000, 8)
