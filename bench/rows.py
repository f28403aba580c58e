"""The rows of the table: what is measured, against whom, and the bar for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import networks
import numpy as np
from networks import Network
from numpy.typing import NDArray
from timing import Contender

from fastnn import nn

FASTNN, TORCH, SKLEARN, ONNX = "fastnn", "PyTorch", "scikit-learn", "ONNX Runtime"
RTOL = 1e-3


@dataclass
class Peers:
    """The peers that are installed, by name, and whether torch.compile takes part."""

    modules: dict[str, ModuleType]
    with_compile: bool = True

    def get(self, name: str) -> ModuleType | None:
        """The adapter of a peer, or None if it is absent."""
        return self.modules.get(name)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Parameters
    ----------
    name : as it is chosen by --rows
    build : makes the contenders, after checking that their results agree
    bars : by peer, how many times faster fastnn is to be
    network : for training steps of which the share of the peak is wanted
    """

    name: str
    build: Callable[[Peers], list[Contender]]
    bars: dict[str, float]
    network: Network | None = None


def check(what: str, expected: object, found: object, atol: float = 1e-5) -> None:
    """AssertionError if two libraries' results differ: then their times mean nothing."""
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=atol, err_msg=what)


def first_result(label: str, run: Callable[[], object]) -> object | None:
    """What a way of PyTorch gives; None, and a note why, where torch.compile can't be used."""
    try:
        return run()
    except Exception as error:
        if not label.startswith("compile"):
            raise
        print(f"  note: torch.compile left out: {type(error).__name__}: {error}"[:200])
        return None


def training(network: Network, by_epoch: bool, peers: Peers) -> list[Contender]:
    """Forward, loss, backward, update."""
    batches = network.split()
    step = networks.training_step(network)
    losses = networks.first_losses(step, batches)
    contenders = [Contender(FASTNN, networks.over_batches(step, batches))]
    if by_epoch:
        x, y = network.data()
        contenders = [
            Contender(FASTNN, lambda: step.epoch(x, y, batch_size=network.batch), network.batches)
        ]
    torch = peers.get(TORCH)
    if torch is not None:
        contenders += torch_training(torch, network, batches, losses, peers.with_compile)
    sklearn = peers.get(SKLEARN)
    if sklearn is not None:
        contenders.append(sklearn_training(sklearn, network, batches, losses, by_epoch))
    return contenders


def torch_training(
    torch: ModuleType, network: Network, batches: list, losses: list, with_compile: bool
) -> list[Contender]:
    """PyTorch's ways; the loop over batches is Python's, as it is for its users."""
    contenders = []
    tensors = torch.tensors(batches)
    for label, step in torch.training_steps(network, with_compile).items():
        found = first_result(label, partial(networks.first_losses, step, tensors))
        if found is None:
            continue
        check(f"losses of PyTorch ({label})", losses, found)
        contenders.append(Contender(TORCH, networks.over_batches(step, tensors), label=label))
    return contenders


def sklearn_training(
    sklearn: ModuleType, network: Network, batches: list, losses: list, by_epoch: bool
) -> Contender:
    """`partial_fit` of a batch, or `fit` of all.

    With two classes only the first loss is the same: one logistic output learns at half the rate
    of the difference of two.
    """
    step = sklearn.training_step(network)
    found = networks.first_losses(step, batches)
    if not network.batch_norm:
        same = 1 if network.widths[-1] == 2 else len(losses)
        check("losses of scikit-learn", losses[:same], found[:same])
    if by_epoch:
        run, steps = sklearn.epochs(network)
        return Contender(SKLEARN, run, steps, label="fit")
    return Contender(SKLEARN, networks.over_batches(step, batches), label="partial_fit")


def softmax(logits: NDArray) -> NDArray:
    """Probabilities by row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def inference(network: Network, peers: Peers) -> list[Contender]:
    """From examples to logits (to probabilities in scikit-learn, which offers no logits)."""
    x, _ = network.split()[0]
    run = networks.inference(network, x)
    logits = run()
    contenders = [Contender(FASTNN, run)]
    torch, onnx, sklearn = (peers.get(name) for name in (TORCH, ONNX, SKLEARN))
    if torch is not None:
        for label, way in torch.inference(network, x, peers.with_compile).items():
            found = first_result(label, way)
            if found is not None:
                check(f"logits of PyTorch ({label})", logits, found)
                contenders.append(Contender(TORCH, way, label=label))
    if onnx is not None:
        way = onnx.inference(network, x)
        check("logits of ONNX Runtime", logits, way())
        contenders.append(Contender(ONNX, way))
    if sklearn is not None:
        way = sklearn.inference(network, x)
        check("probabilities of scikit-learn", softmax(logits), way())
        contenders.append(Contender(SKLEARN, way, label="predict_proba"))
    return contenders


def fastnn_layer(name: str, features: int) -> nn.Module:
    """A module by the name that a row has."""
    if name == "BatchNorm1d + ReLU":
        return nn.Sequential(nn.BatchNorm1d(features), nn.ReLU())
    return getattr(nn, name)()


def layer(name: str, shape: tuple[int, int], peers: Peers) -> list[Contender]:
    """Forward and backward of one layer."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    lowered = networks.gradient_program(fastnn_layer(name, shape[1]), x, dy)
    run = networks.forward_backward(lowered)
    run()
    results = networks.output_and_gradient(lowered)
    contenders = [Contender(FASTNN, run)]
    torch = peers.get(TORCH)
    if torch is None:
        return contenders
    for label, way in torch.forward_backward(name, x, dy, peers.with_compile).items():
        found = first_result(label, way)
        if found is None:
            continue
        for what, ours, theirs in zip(("output", "gradient"), results, found, strict=True):
            check(f"{what} of PyTorch ({label})", ours, theirs.numpy())
        contenders.append(Contender(TORCH, way, label=label))
    return contenders


SMALL = Network((20, 32, 2), 32, batches=200)
PLAIN = Network((784, 100, 10), 64)
DEEP = Network((784, 100, 100, 100, 100, 100, 10), 64, batch_norm=True)
WIDE = Network((3072, 512, 512, 512, 10), 128, batch_norm=True)
ONE = Network((784, 100, 10), 1)
MANY = Network((784, 100, 10), 1024, batches=1)
ACTIVATION_BARS = {
    "Tanh": 2.5,
    "ELU": 2.5,
    "Sigmoid": 1.0,
    "ReLU": 1.0,
    "LeakyReLU": 1.0,
    "PReLU": 1.0,
}


def all_rows() -> list[Row]:
    """Every row, in the order of the table."""
    rows = [
        Row("step-20-32-2", partial(training, SMALL, False), {TORCH: 20, SKLEARN: 10}),
        Row("epoch-20-32-2", partial(training, SMALL, True), {TORCH: 40, SKLEARN: 20}),
        Row("step-784-100-10", partial(training, PLAIN, False), {TORCH: 2.5, SKLEARN: 3}),
        Row("step-784-bn100x5-10", partial(training, DEEP, False), {TORCH: 3}),
        Row("step-3072-bn512x3-10", partial(training, WIDE, False), {TORCH: 1.3, SKLEARN: 2}, WIDE),
        Row("infer-784-100-10-b1", partial(inference, ONE), {TORCH: 3, ONNX: 1.3, SKLEARN: 5}),
        Row(
            "infer-784-100-10-b1024",
            partial(inference, MANY),
            {TORCH: 1.3, ONNX: 1.0, SKLEARN: 1.3},
        ),
    ]
    for elements in (65_536, 4_194_304):
        for name, bar in ACTIVATION_BARS.items():
            build = partial(layer, name, (1024, elements // 1024))
            rows.append(Row(f"{name.lower()}-{elements}", build, {TORCH: bar}))
    build = partial(layer, "BatchNorm1d + ReLU", (128, 512))
    return [*rows, Row("batchnorm-relu-128x512", build, {TORCH: 2})]
