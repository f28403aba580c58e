"""Does fastnn learn as well as PyTorch? Accuracy on held-out data, and the time to get there.

    python bench/learning.py [--mnist FOLDER] [--cifar10 FOLDER] [--only NAME ...] [--epochs N]
                             [--seeds N] [--threads N]

Tasks (`learning_tasks.py` has their networks and recipes): the digits that come with fastnn, of
which a fifth is held out; MNIST with a fully connected network and with LeNet; CIFAR-10 with a
small VGG network, crops and mirror images. Tasks without their data are left out.

Both libraries start from the same weights and see the same batches, by seed; PyTorch's are made by
fastnn too, so that no DataLoader slows it. "direct" is fastnn with every convolution computed
exactly to rounding, without Winograd's algorithm.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where fastnn is built in place

from learning_tasks import TASKS, Task, cosine

import fastnn
from fastnn import nn, optim

Result = tuple[float, float]


class CosineDecay(fastnn.Callback):
    """Takes the learning rate to zero, epoch by epoch."""

    def __init__(self, task: Task, epochs: int):
        self.task, self.epochs = task, epochs

    def on_epoch_end(self, trainer: fastnn.Trainer, epoch: int, row: Mapping[str, float]) -> None:
        trainer.optimizer.param_groups[0]["lr"] = cosine(self.task, epoch + 1, self.epochs)


def initial(task: Task, seed: int, algorithm: str = "auto") -> nn.Module:
    """fastnn's network with the weights of a seed."""
    fastnn.manual_seed(seed)
    model = task.network(nn)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.algorithm = algorithm
    return model


def train_fastnn(task: Task, epochs: int, seed: int, algorithm: str = "auto") -> Result:
    """Accuracy on the held-out images, and seconds of training."""
    data = task.data
    model = initial(task, seed, algorithm)
    optimizer = optim.SGD(lr=task.lr, momentum=task.momentum, weight_decay=task.weight_decay)
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optimizer)
    callbacks = [CosineDecay(task, epochs)] if task.decay else []
    start = time.perf_counter()
    trainer.fit(
        data.train,
        data.train_labels,
        epochs,
        task.batch,
        augment=data.augment,
        seed=seed,
        callbacks=callbacks,
        progress=False,
    )
    seconds = time.perf_counter() - start
    return trainer.evaluate(data.test, data.test_labels)["accuracy"], seconds


def torch_batches(task: Task, rng: np.random.Generator) -> Iterator:
    """The batches of an epoch, in the order and with the crops of `Trainer.fit`."""
    import torch

    data = task.data
    if data.augment is not None:
        for images, labels in fastnn.datasets.batches(
            data.train, data.train_labels, task.batch, seed=rng, augment=data.augment
        ):
            yield torch.from_numpy(images), torch.from_numpy(labels)
        return
    x, y = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
    for rows in torch.from_numpy(rng.permutation(len(x))).split(task.batch):
        yield x[rows], y[rows]


def train_torch(task: Task, epochs: int, seed: int) -> Result:
    """The same in PyTorch."""
    import torch

    model = task.network(torch.nn)
    state = initial(task, seed).state_dict()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    if task.is_of_images:
        model = model.to(memory_format=torch.channels_last)
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=task.lr,
        momentum=task.momentum,
        weight_decay=task.weight_decay,
        fused=True,
    )
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    for epoch in range(epochs):
        if task.decay:
            optimizer.param_groups[0]["lr"] = cosine(task, epoch, epochs)
        for images, labels in torch_batches(task, rng):
            optimizer.zero_grad()
            loss_function(model(images), labels).backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    model.eval()
    with torch.inference_mode():
        parts = torch.from_numpy(task.data.test).split(500)
        classes = torch.cat([model(part).argmax(1) for part in parts])
    return float(np.mean(classes.numpy() == task.data.test_labels)), seconds


def libraries(threads: int) -> dict[str, Callable[..., Result]]:
    """fastnn, and PyTorch where it is installed."""
    fastnn.set_num_threads(threads)
    ways: dict[str, Callable[..., Result]] = {
        "fastnn": train_fastnn,
        "fastnn, direct": partial(train_fastnn, algorithm="direct"),
    }
    try:
        import torch
    except ImportError as error:
        print(f"note: no line for PyTorch: {error}")
        return ways
    torch.set_num_threads(threads)
    return {**ways, "PyTorch": train_torch}


def report(task: Task, epochs: int, seeds: int, ways: dict[str, Callable[..., Result]]) -> None:
    """Trains in every way with every seed, in turns, and prints a line for each way."""
    if not task.is_of_images:
        ways = {name: train for name, train in ways.items() if name != "fastnn, direct"}
    results: dict[str, list[Result]] = {name: [] for name in ways}
    for seed in range(seeds):
        for name, train in ways.items():
            results[name].append(train(task, epochs, seed))
    for name, found in results.items():
        accuracies, seconds = np.transpose(found)
        by_seed = " ".join(f"{accuracy:.2%}" for accuracy in accuracies)
        print(
            f"| {task.name:13} | {name:14} | {accuracies.mean():13.2%} "
            f"| {seconds.mean():9.2f} s | {by_seed} |",
            flush=True,
        )


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mnist", metavar="FOLDER", help="with the four files of MNIST")
    parser.add_argument("--cifar10", metavar="FOLDER", help="with the binary files of CIFAR-10")
    parser.add_argument("--only", nargs="+", choices=sorted(TASKS), help="by default all")
    parser.add_argument("--epochs", type=int, help="by default what the recipe says")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    tasks = []
    for name in options.only or TASKS:
        task = TASKS[name]
        folder: NDArray | str | None = vars(options).get(task.folder or "", "")
        if folder is None:
            print(f"note: no lines for {name}: give --{task.folder}")
            continue
        task.load(folder)  # all before the first training, which may take minutes
        tasks.append(task)
    ways = libraries(options.threads)
    print("| task          | library        | mean accuracy | mean time   | accuracy by seed |")
    print("| ------------- | -------------- | ------------- | ----------- | ---------------- |")
    for task in tasks:
        report(task, options.epochs or task.epochs, options.seeds, ways)


if __name__ == "__main__":
    main()
