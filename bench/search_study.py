"""From coarse to fine against a grid and against random trials of the same budget, on MNIST.

    python bench/search_study.py --data FOLDER [--seeds N]

784-64-10 on 3,000 images, judged on 2,000 others; learning rate, weight decay and momentum. All
searches train for the same number of epochs in all, and none trains a network for longer than
LONGEST. The winner of each search is also trained once more, and measured on test images that no
search has seen.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where fastnn is built in place

import fastnn
from fastnn import nn, optim, preprocessing

TRAINING, VALIDATION = 3000, 2000
SPACE = {"lr": (1e-5, 1.0), "weight_decay": (1e-6, 1.0), "momentum": (0.0, 0.99)}
LONGEST = 5
# 27 x 5 = 135 epochs for the grid of 3 x 3 x 3 and for random trials, as many for the stages.
GRID_TRIALS = 27
STAGES = [(40, 1), (20, 2), (11, LONGEST)]
assert sum(trials * epochs for trials, epochs in STAGES) == GRID_TRIALS * LONGEST
OPTIONS = {
    "preprocessing": preprocessing.ZeroCenter,
    "batch_size": 64,
    "early_stopping": False,
}


def build(params):
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = optim.SGD(
        lr=params["lr"], momentum=params["momentum"], weight_decay=params["weight_decay"]
    )
    return model, nn.CrossEntropyLoss(), optimizer


def data(folder, seed):
    """Images and labels to train on, to validate on, and to test on."""
    (X, y), test = fastnn.datasets.mnist(folder, flatten=True)
    order = np.random.default_rng(seed).permutation(len(X))
    X = X.astype(np.float32) / 255
    train, held = np.split(order[: TRAINING + VALIDATION], [TRAINING])
    return (X[train], y[train]), (X[held], y[held]), (test[0].astype(np.float32) / 255, test[1])


def searches(train, validation, seed):
    """The result of each kind of search."""
    options = {**OPTIONS, "validation": validation, "seed": seed}
    return {
        "grid": fastnn.search.grid_search(build, SPACE, *train, GRID_TRIALS, LONGEST, **options),
        "random": fastnn.search.random_search(
            build, SPACE, *train, GRID_TRIALS, LONGEST, **options
        ),
        "random, halving": fastnn.search.random_search(
            build, SPACE, *train, 57, LONGEST, halving=fastnn.search.SuccessiveHalving(2), **options
        ),
        "coarse to fine": fastnn.search.coarse_to_fine(build, SPACE, *train, STAGES, **options),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", fastnn.search.RangeWarning)
    rows = {}
    started = time.perf_counter()
    for seed in range(arguments.seeds):
        train, validation, test = data(arguments.data, seed)
        for name, result in searches(train, validation, seed).items():
            best = result.best
            tested = fastnn.search.random_search(
                build,
                {key: [value] for key, value in best.params.items()},
                *train,
                1,
                LONGEST,
                **{**OPTIONS, "validation": test, "seed": seed},
            )
            epochs = sum(trial.epochs for trial in result.trials)
            diverged = sum(trial.status == "diverged" for trial in result.trials)
            rows.setdefault(name, []).append((best.score, tested.best.score, epochs, diverged))
            shown = ", ".join(f"{key} {value:.2g}" for key, value in best.params.items())
            print(f"seed {seed}: {name:16} {best.score:.4f}  {shown}", flush=True)
    print(f"\n{'search':16} validation accuracy  test accuracy  epochs  diverged")
    for name, found in rows.items():
        mean = np.mean(found, axis=0)
        spread = np.std([row[0] for row in found])
        print(
            f"{name:16} {mean[0]:.4f} +- {spread:.4f}     {mean[1]:.4f}         {mean[2]:.0f}"
            f"     {mean[3]:.1f}"
        )
    differences = [a[0] - b[0] for a, b in zip(rows["coarse to fine"], rows["grid"], strict=True)]
    print(f"coarse to fine - grid: {[round(d, 4) for d in differences]}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
