"""Data sets to train on, and the tools to split them and walk through them in batches.

`digits` is part of the package. `mnist` and `cifar10` read the original files from a folder, and
nothing is ever downloaded. Images are uint8, labels are int64.
"""

from __future__ import annotations

from fastnn.datasets._augment import Augment
from fastnn.datasets._batches import batches, train_test_split
from fastnn.datasets._cifar10 import CIFAR10_CLASSES, cifar10
from fastnn.datasets._digits import digits
from fastnn.datasets._idx import mnist, read_idx

__all__ = [
    "Augment",
    "CIFAR10_CLASSES",
    "batches",
    "cifar10",
    "digits",
    "mnist",
    "read_idx",
    "train_test_split",
]
