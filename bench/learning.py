"""Does fastnn learn as well as PyTorch? Accuracy on held-out data, and the time to get there.

    python bench/learning.py [--data FOLDER] [--epochs N] [--seeds N] [--threads N]

MNIST (from the original files in FOLDER; left out without it) and the digits that come with
fastnn, of which a fifth is held out. 784-256-128-10 (64-256-128-10) with BatchNorm and ReLU, SGD
with momentum; each library draws its own initial weights and orders from the seed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where fastnn is built in place

import fastnn
from fastnn import nn, optim

HIDDEN, CLASSES = (256, 128), 10
LEARNING_RATE, MOMENTUM, BATCH = 0.1, 0.9, 128

Data = tuple[NDArray, NDArray, NDArray, NDArray]


def scaled(train: NDArray, test: NDArray, largest: float) -> tuple[NDArray, NDArray]:
    """Pixels with mean 0 and deviation 1 over all pixels of the training images."""
    train, test = (images.astype(np.float32) / np.float32(largest) for images in (train, test))
    mean, deviation = train.mean(dtype=np.float64), train.std(dtype=np.float64)
    return tuple(((part - mean) / deviation).astype(np.float32) for part in (train, test))


def mnist(folder: str) -> Data:
    """Training images and labels, test images and labels."""
    (train, train_labels), (test, test_labels) = fastnn.datasets.mnist(folder, flatten=True)
    train, test = scaled(train, test, 255)
    return train, train_labels, test, test_labels


def digits() -> Data:
    """The embedded digits, a fifth held out."""
    x, y = fastnn.datasets.digits()
    train, test, train_labels, test_labels = fastnn.datasets.train_test_split(x, y, 0.2, seed=0)
    train, test = scaled(train, test, 16)
    return train, train_labels, test, test_labels


def layers(kinds: object, features: int) -> list:
    """The network's layers from a library's `nn`."""
    made = []
    for inputs, outputs in itertools.pairwise((features, *HIDDEN)):
        made += [kinds.Linear(inputs, outputs), kinds.BatchNorm1d(outputs), kinds.ReLU()]
    return [*made, kinds.Linear(HIDDEN[-1], CLASSES)]


def train_fastnn(data: Data, epochs: int, seed: int) -> tuple[float, float]:
    """Accuracy on the held-out images, and seconds of training."""
    x, y, test, test_labels = data
    fastnn.manual_seed(seed)
    model = nn.Sequential(*layers(nn, x.shape[1]))
    optimizer = optim.SGD(lr=LEARNING_RATE, momentum=MOMENTUM)
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optimizer)
    start = time.perf_counter()
    trainer.fit(x, y, epochs=epochs, batch_size=BATCH, progress=False)
    seconds = time.perf_counter() - start
    return trainer.evaluate(test, test_labels)["accuracy"], seconds


def train_torch(data: Data, epochs: int, seed: int) -> tuple[float, float]:
    """The same in PyTorch, without a DataLoader, which would only slow it."""
    import torch

    x, y, test, test_labels = map(torch.from_numpy, data)
    torch.manual_seed(seed)
    model = torch.nn.Sequential(*layers(torch.nn, x.shape[1]))
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss_function(model(x[rows]), y[rows]).backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    model.eval()
    with torch.inference_mode():
        right = model(test).argmax(1) == test_labels
    return float(right.float().mean()), seconds


def libraries(threads: int) -> dict[str, Callable]:
    """fastnn, and PyTorch where it is installed."""
    fastnn.set_num_threads(threads)
    try:
        import torch
    except ImportError as error:
        print(f"note: no line for PyTorch: {error}")
        return {"fastnn": train_fastnn}
    torch.set_num_threads(threads)
    return {"fastnn": train_fastnn, "PyTorch": train_torch}


def report(name: str, data: Data, options: argparse.Namespace, ways: dict[str, Callable]) -> None:
    """Trains by every library with every seed, in turns, and prints a line for each library."""
    results: dict[str, list[tuple[float, float]]] = {library: [] for library in ways}
    for seed in range(options.seeds):
        for library, train in ways.items():
            results[library].append(train(data, options.epochs, seed))
    for library, found in results.items():
        accuracies, seconds = np.transpose(found)
        seeds = " ".join(f"{accuracy:.2%}" for accuracy in accuracies)
        print(
            f"| {name:8} | {library:8} | {accuracies.mean():13.2%} | {seconds.mean():9.2f} s "
            f"| {seeds} |",
            flush=True,
        )


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", metavar="FOLDER", help="with the four files of MNIST")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    ways = libraries(options.threads)
    print("| data     | library  | mean accuracy | mean time   | accuracy by seed |")
    print("| -------- | -------- | ------------- | ----------- | ---------------- |")
    if options.data:
        report("MNIST", mnist(options.data), options, ways)
    report("digits", digits(), options, ways)


if __name__ == "__main__":
    main()
