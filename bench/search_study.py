"""From coarse to fine against a grid and against random trials of the same budget, on MNIST.

    python bench/search_study.py --data FOLDER [--seeds N]

784-64-10 on 3,000 images, judged on 5,000 others, over ranges that a person would take who knows
nothing yet: learning rates from one at which the loss hardly changes to one at which it explodes,
weight decay from nothing to all there is. Both ends of a range are drawn within a decade for each
seed, the same for all searches: where the points of a grid fall is luck. All searches train for the
same number of epochs in all, and none trains a network for longer than LONGEST. The winner of each
search is also trained once more, and measured on test images that no search has seen.
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

TRAINING, VALIDATION = 3000, 5000
# Exponents of ten of either end of a range: lowest and highest.
LR, DECAY = ((-6, -5), (0, 1)), ((-6, -5), (-1, 0))
LONGEST = 5
# Space, trials of the grid and of random search, stages of as many epochs.
STUDIES = {
    "learning rate, weight decay; momentum 0.9": (
        {"lr": LR, "weight_decay": DECAY, "momentum": [0.9]},
        25,
        [(25, 1), (15, 2), (14, LONGEST)],
    ),
    "learning rate, weight decay, momentum": (
        {"lr": LR, "weight_decay": DECAY, "momentum": (0.0, 0.99)},
        27,
        [(27, 1), (19, 2), (14, LONGEST)],
    ),
}
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


def with_ends(space, seed):
    """The space with the ends of its ranges drawn."""
    rng = np.random.default_rng(seed)
    return {
        name: tuple(10 ** rng.uniform(*end) for end in given) if given in (LR, DECAY) else given
        for name, given in space.items()
    }


def searches(space, trials, stages, train, validation, seed):
    """The result of each kind of search."""
    assert sum(count * epochs for count, epochs in stages) == trials * LONGEST
    options = {**OPTIONS, "validation": validation, "seed": seed}
    return {
        "grid": fastnn.search.grid_search(build, space, *train, trials, LONGEST, **options),
        "random": fastnn.search.random_search(build, space, *train, trials, LONGEST, **options),
        "coarse to fine": fastnn.search.coarse_to_fine(build, space, *train, stages, **options),
    }


def tested(params, train, test, seed):
    """Accuracy of a winner on the test images."""
    space = {name: [value] for name, value in params.items()}
    options = {**OPTIONS, "validation": test, "seed": seed}
    return fastnn.search.grid_search(build, space, *train, epochs=LONGEST, **options).best.score


def study(name, space, trials, stages, folder, seeds):
    """Prints a table of the searches over one space."""
    print(f"{name}: {trials} trials of {LONGEST} epochs, or stages {stages}")
    rows = {}
    for seed in seeds:
        train, validation, test = data(folder, seed)
        drawn = with_ends(space, seed)
        for kind, result in searches(drawn, trials, stages, train, validation, seed).items():
            best = result.best
            diverged = sum(trial.status == "diverged" for trial in result.trials)
            rows.setdefault(kind, []).append(
                (best.score, tested(best.params, train, test, seed), diverged)
            )
            shown = ", ".join(f"{key} {value:.2g}" for key, value in best.params.items())
            print(f"  seed {seed}: {kind:16} {best.score:.4f}  {shown}", flush=True)
    print(f"{'search':16} validation accuracy  test accuracy  diverged")
    for kind, found in rows.items():
        score, test_score, diverged = np.mean(found, axis=0)
        spread = np.std([row[0] for row in found])
        print(f"{kind:16} {score:.4f} +- {spread:.4f}    {test_score:.4f}         {diverged:.1f}")
    differences = [a[0] - b[0] for a, b in zip(rows["coarse to fine"], rows["grid"], strict=True)]
    print(f"coarse to fine - grid, by seed: {', '.join(f'{d:+.4f}' for d in differences)}\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", fastnn.search.RangeWarning)
    started = time.perf_counter()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    for name, parts in STUDIES.items():
        study(name, *parts, arguments.data, seeds)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
