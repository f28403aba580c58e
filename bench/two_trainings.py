"""Two trainings in two Python threads, each limited to one kernel thread, beside one alone.

    python bench/two_trainings.py

On two free cores the pair should take hardly longer than one: the interpreter is free while an
epoch computes, and neither waits for a team of the other. Prints the seconds of each and the ratio.
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where fastnn is built in place
import fastnn
from fastnn import models, nn, optim

REPETITIONS = 9
# Inputs, hidden layers, classes, batch size, batches of an epoch. Where an epoch takes less than a
# tenth of a millisecond, waking the thread that waits for the interpreter is a part of it.
NETWORKS = {
    "20-32-2, batch 32, 20 batches": (20, [32], 2, 32, 20),
    "20-32-2, batch 32, 200 batches": (20, [32], 2, 32, 200),
    "784-100-10, batch 64, 20 batches": (784, [100], 10, 64, 20),
    "784-(100)x5-10, batch 64, 20 batches": (784, [100] * 5, 10, 64, 20),
}
TRAINING_SECONDS = 0.2


def training(inputs, hidden, classes, batch_size, batches, seed):
    """A function that trains a network of its own for about TRAINING_SECONDS on one thread."""
    rng = np.random.default_rng(seed)
    model = models.mlp([inputs, *hidden, classes], batch_norm=True)
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9))
    X = rng.standard_normal((batch_size * batches, inputs)).astype(np.float32)
    y = rng.integers(0, classes, len(X))

    def train(epochs):
        with fastnn.num_threads(1):
            indices = rng.permutation(len(X))
            for _ in range(epochs):
                step.epoch(X, y, indices, batch_size)

    train(3)
    started = time.perf_counter()
    train(10)
    epochs = max(1, round(10 * TRAINING_SECONDS / (time.perf_counter() - started)))
    return lambda: train(epochs)


def seconds(*trainings):
    """How long trainings take that start together, each in a Python thread."""
    workers = [threading.Thread(target=train) for train in trainings]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def main():
    print(f"{'network':37} {'one':>8} {'other':>8} {'both':>8}  ratio")
    for name, network in NETWORKS.items():
        first, second = (training(*network, seed) for seed in (0, 1))
        rows = [
            (seconds(first), seconds(second), seconds(first, second)) for _ in range(REPETITIONS)
        ]
        one, other, both = np.median(rows, axis=0)
        print(f"{name:37} {one:8.3f} {other:8.3f} {both:8.3f}  {both / max(one, other):5.2f}")


if __name__ == "__main__":
    main()
