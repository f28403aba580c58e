"""Trials per second of a random search on one worker and on two.

    python bench/search_throughput.py

Each trial trains on one kernel thread; with two workers two of them run side by side in threads of
this process. On two free cores two should do at least 1.8 times the trials of one. Blocks of one
and of two workers take turns; the figures are medians.
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where fastnn is built in place

import fastnn
from fastnn import models, nn, optim

REPETITIONS = 5
# Inputs, hidden layers, classes, examples, batch size, epochs, trials. Building and compiling a
# network (1.5 ms and more) is Python, which two threads do one after the other: in the shortest
# trials it takes as long as the training.
NETWORKS = {
    "20-32-2, 2,000 examples, 20 epochs": (20, [32], 2, 2000, 32, 20, 80),
    "20-32-2, 2,000 examples, 200 epochs": (20, [32], 2, 2000, 32, 200, 16),
    "64-32-10, 1,800 examples, 20 epochs, 5 folds": (64, [32], 10, 1800, 32, 20, 12),
    "784-100-10, 4,000 examples, 3 epochs": (784, [100], 10, 4000, 64, 3, 32),
    "784-100-10, 4,000 examples, 10 epochs": (784, [100], 10, 4000, 64, 10, 12),
    "784-(100)x5-10, 4,000 examples, 10 epochs": (784, [100] * 5, 10, 4000, 64, 10, 8),
}


def search(inputs, hidden, classes, examples, batch_size, epochs, trials, cv, workers):
    """Seconds of a search."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((examples, inputs)).astype(np.float32)
    y = rng.integers(0, classes, examples)

    def build(params):
        model = models.mlp([inputs, *hidden, classes], batch_norm=True)
        return model, nn.CrossEntropyLoss(), optim.SGD(lr=params["lr"], momentum=0.9)

    started = time.perf_counter()
    fastnn.search.random_search(
        build,
        {"lr": (1e-4, 1e-2)},
        X,
        y,
        trials,
        epochs,
        batch_size=batch_size,
        early_stopping=False,
        workers=workers,
        **({"cv": 5} if cv else {"validation": 0.2}),
    )
    return time.perf_counter() - started


def main():
    print(f"{'network':46} {'one':>8} {'two':>8}  trials per second; ratio")
    for name, network in NETWORKS.items():
        trials, cv = network[-1], "folds" in name
        search(*network[:-1], 2, cv, 2)
        rows = [
            [trials / search(*network, cv, workers) for workers in (1, 2)]
            for _ in range(REPETITIONS)
        ]
        one, two = np.median(rows, axis=0)
        print(f"{name:46} {one:8.1f} {two:8.1f}  {two / one:5.2f}", flush=True)


if __name__ == "__main__":
    main()
