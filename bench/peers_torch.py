"""PyTorch as a peer: eager, and by torch.compile."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from networks import LEARNING_RATE, MOMENTUM, Network
from numpy.typing import NDArray
from torch import nn


def prepare(threads: int) -> str:
    """Sets the threads; returns the version."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch._dynamo.config.cache_size_limit = 256
    return torch.__version__


def module(network: Network) -> nn.Sequential:
    """The network with fastnn's weights."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(network.widths[:-1]):
        layers.append(nn.Linear(inputs, outputs))
        layers += [nn.BatchNorm1d(outputs)] if network.batch_norm else []
        layers.append(nn.ReLU())
    model = nn.Sequential(*layers, nn.Linear(*network.widths[-2:]))
    state = network.model().state_dict()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    return model


def tensors(batches: list) -> list:
    """The same batches, in the same memory, as tensors."""
    return [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]


def training_step(network: Network, compiled: bool, fused: bool) -> Callable:
    """Forward, loss, backward and update; returns the loss as a tensor.

    With `compiled`, model and loss are one compiled function, forward and backward, and the
    update is the fused kernel or a compiled function too.
    """
    model, loss_function = module(network), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=fused or None
    )

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss_function(model(x), y)

    update = optimizer.step
    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False)
        update = update if fused else torch.compile(update)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        update()
        return loss.detach()

    return step


def training_steps(network: Network, with_compile: bool) -> dict[str, Callable]:
    """All ways of training, of which the fastest counts."""
    ways = {
        "eager": training_step(network, False, False),
        "eager, fused SGD": training_step(network, False, True),
    }
    if with_compile:
        ways["compile, fused SGD"] = training_step(network, True, True)
        ways["compile"] = training_step(network, True, False)
    return ways


def inference(network: Network, x: NDArray, with_compile: bool) -> dict[str, Callable]:
    """Functions that compute the logits of `x` in inference mode."""
    model, inputs = module(network).eval(), torch.from_numpy(x)

    def runner(function: Callable) -> Callable[[], NDArray]:
        def run() -> NDArray:
            with torch.inference_mode():
                return function(inputs).numpy()

        return run

    ways = {"eager": runner(model)}
    if with_compile:
        ways["compile"] = runner(torch.compile(model, dynamic=False))
    return ways


def layer(name: str, features: int) -> nn.Module:
    """A module by the name that a row has."""
    if name == "BatchNorm1d + ReLU":
        return nn.Sequential(nn.BatchNorm1d(features), nn.ReLU())
    return getattr(nn, name)()


def forward_backward(name: str, x: NDArray, dy: NDArray, with_compile: bool) -> dict[str, Callable]:
    """Functions that run a layer forward and backward; they return output and gradient."""
    inputs = torch.from_numpy(x).clone().requires_grad_()
    seed = torch.from_numpy(dy)

    def runner(function: Callable, parameters: list) -> Callable[[], list]:
        def run() -> list:
            inputs.grad = None
            for parameter in parameters:
                parameter.grad = None
            y = function(inputs)
            y.backward(seed)
            return [y.detach(), inputs.grad]

        return run

    eager = layer(name, x.shape[1])
    ways = {"eager": runner(eager, list(eager.parameters()))}
    if with_compile:
        other = layer(name, x.shape[1])
        ways["compile"] = runner(torch.compile(other, dynamic=False), list(other.parameters()))
    return ways


def product(size: int) -> Callable[[], object]:
    """A square matrix product, for the machine's peak."""
    a, b, out = torch.rand(size, size), torch.rand(size, size), torch.empty(size, size)
    return lambda: torch.mm(a, b, out=out)
