"""Data that the tests of the diagnostics share."""

from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import nn

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def folder(name):
    """A folder of data beside the project; the test is skipped where it is absent."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no ../shared/data/{name}")
    return DATA / name


def digits():
    """Standardized digits, split: the mean is the training set's own."""
    X, y = fastnn.datasets.digits()
    X_train, X_test, y_train, y_test = fastnn.datasets.train_test_split(X, y, test_size=0.2, seed=0)
    standardize = fastnn.preprocessing.Standardize().fit(X_train)
    return (
        standardize.transform(X_train).astype(np.float32),
        standardize.transform(X_test).astype(np.float32),
        y_train,
        y_test,
    )


def cifar10_network():
    """3072-50-10 with weights 1e-4 normal on centred images, as the course has it."""
    (X, y), _ = fastnn.datasets.cifar10(folder("cifar-10-batches-bin"), flatten=True)
    X = fastnn.preprocessing.ZeroCenter().fit_transform(X).astype(np.float32)
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Linear(3072, 50), nn.ReLU(), nn.Linear(50, 10))
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight, std=1e-4)
        nn.init.zeros_(layer.bias)
    return model, X, y
