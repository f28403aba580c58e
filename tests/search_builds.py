"""What searches in the tests build: functions of a module, which other processes can import."""

import os
import time

import numpy as np

import fastnn
from fastnn import nn, optim, preprocessing

SPACE = {"lr": (1e-3, 30.0), "weight_decay": (1e-6, 1e-2), "hidden": [8, 16]}


def build(params):
    model = nn.Sequential(
        nn.Linear(64, params.get("hidden", 16)),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(params.get("hidden", 16), 10),
    )
    optimizer = optim.SGD(
        lr=params["lr"], momentum=0.9, weight_decay=params.get("weight_decay", 0.0)
    )
    return model, nn.CrossEntropyLoss(), optimizer


def slow_build(params):
    """As `build`, so slowly that a test can kill the search in between."""
    time.sleep(float(os.environ.get("SEARCH_TEST_DELAY", "0")))
    return build(params)


def small_digits(count=300):
    X, y = fastnn.datasets.digits()
    return X[:count], y[:count]


def search(**options):
    """A random search that takes a moment, with some trials that diverge."""
    X, y = small_digits()
    arguments = {"n_trials": 8, "epochs": 3, "cv": 3, "seed": 5, "batch_size": 32, **options}
    arguments.setdefault("preprocessing", preprocessing.Standardize())
    return fastnn.search.random_search(build, SPACE, X, y, **arguments)


def journalled(kind, path):
    """A search of each kind with a journal."""
    X, y = small_digits()
    options = {"validation": 0.25, "seed": 5, "batch_size": 32, "journal": path}
    if kind == "coarse_to_fine":
        stages = [(8, 1), (5, 2), (3, 3)]
        return fastnn.search.coarse_to_fine(slow_build, SPACE, X, y, stages, **options)
    if kind == "grid_search":
        return fastnn.search.grid_search(slow_build, SPACE, X, y, 16, 2, **options)
    halving = 2 if kind == "halving" else None
    return fastnn.search.random_search(slow_build, SPACE, X, y, 16, 4, halving=halving, **options)


class FixedValues:
    """Anything with rvs."""

    def rvs(self, random_state):
        return np.float64(random_state.integers(3))
