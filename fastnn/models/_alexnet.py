"""AlexNet, in one tower."""

from __future__ import annotations

import math
from typing import Any

from fastnn import nn
from fastnn._checks import whole

# Smaller images would vanish in the strides of the original's first layer and pools.
ORIGINAL_FROM = 63
LEAST_IMAGE = 15
POOLED = 6


class AlexNet(nn.Module):
    """Five convolutions (`features`) and three fully connected layers (`classifier`).

    Parameters
    ----------
    num_classes : int
    width : float
    image_size, channels : int
    dropout : float
        All as in `alexnet`, which builds it.

    Raises
    ------
    ValueError
        As for `alexnet`.
    """

    def __init__(
        self, num_classes: int, width: float, image_size: int, channels: int, dropout: float
    ):
        super().__init__()
        image_size = whole("image_size", image_size, LEAST_IMAGE, where="alexnet: ")
        if not (isinstance(width, (int, float)) and 0 < width < math.inf):
            raise ValueError(f"alexnet: got width={width!r}, expected a number above 0")
        a, b, c, d, hidden = (max(1, round(n * width)) for n in (64, 192, 384, 256, 4096))
        pooled = POOLED
        first = nn.Conv2d(channels, a, 11, stride=4, padding=2)
        if image_size < ORIGINAL_FROM:
            first = nn.Conv2d(channels, a, 5, padding=2)
            for _ in range(3):
                image_size = (image_size - 3) // 2 + 1
            pooled = min(POOLED, image_size)
        self.features = nn.Sequential(
            first,
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(d, d, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(d * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Any) -> Any:
        x = self.avgpool(self.features(x))
        return self.classifier(nn.functional.flatten(x))


def alexnet(
    num_classes: int = 1000,
    width: float = 1.0,
    image_size: int = 224,
    channels: int = 3,
    dropout: float = 0.5,
) -> AlexNet:
    """AlexNet (Krizhevsky, Sutskever and Hinton, 2012) in one tower (Krizhevsky, 2014).

    The architecture, names of parameters and initialization are those of torchvision's `alexnet`,
    whose state dicts load.

    Parameters
    ----------
    num_classes : int, default=1000
    width : float, default=1
        Factor on the maps of the convolutions and the units of the hidden layers.
    image_size : int, default=224
        Below 63 the first layer is 5 x 5 with stride 1 in place of 11 x 11 with stride 4, as in
        Krizhevsky's network for CIFAR-10, and the classifier takes the last maps as large as they
        are. At least 15.
    channels : int, default=3
    dropout : float, default=0.5
        Before each hidden fully connected layer.

    Returns
    -------
    AlexNet
        From (batch, channels, image_size, image_size) to (batch, num_classes).

    Raises
    ------
    ValueError
        If `image_size` or `width` is too small.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import models
    >>> model = models.alexnet(num_classes=10, width=0.125, image_size=32)
    >>> model(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    """
    return AlexNet(num_classes, width, image_size, channels, dropout)
