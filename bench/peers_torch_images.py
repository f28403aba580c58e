"""PyTorch on images: in either layout, eager and by torch.compile.

Batches are given in the layout that a way works in: PyTorch's users would convert them first. ReLU
works in place, and the update is the fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from image_layers import BACKWARD, FORWARD, ImageLayer
from image_networks import ImageNetwork
from networks import LEARNING_RATE, MOMENTUM
from numpy.typing import NDArray
from torch import nn

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
# The backward pass alone is run many times on what one forward pass left.
torch._functorch.config.donated_buffer = False


def ways(with_compile: bool) -> Iterator[tuple[str, torch.memory_format, bool]]:
    """Label, layout, and whether it is compiled."""
    for compiled in (False, True) if with_compile else (False,):
        for name, layout in LAYOUTS.items():
            yield f"compile, {name}" if compiled else name, layout, compiled


def with_weights(module: nn.Module, source, layout: torch.memory_format) -> nn.Module:
    """A module with the weights of fastnn's."""
    module.load_state_dict({k: torch.from_numpy(v) for k, v in source.state_dict().items()})
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = True
    return module.to(memory_format=layout)


def tensor(images: NDArray, layout: torch.memory_format) -> torch.Tensor:
    """Images in a layout."""
    return torch.from_numpy(images).clone().contiguous(memory_format=layout)


def tensors(batches: list, layout: torch.memory_format) -> list:
    """The same batches in a layout."""
    return [(tensor(x, layout), torch.from_numpy(y)) for x, y in batches]


def training_step(network: ImageNetwork, layout: torch.memory_format, compiled: bool) -> Callable:
    """Forward, loss, backward and update; returns the loss as a tensor."""
    model = with_weights(network.define(nn), network.model(), layout)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss_function(model(x), y)

    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def training_steps(network: ImageNetwork, with_compile: bool) -> dict[str, tuple[Callable, list]]:
    """By label a step, and the batches that it takes."""
    batches = network.split()
    return {
        label: (training_step(network, layout, compiled), tensors(batches, layout))
        for label, layout, compiled in ways(with_compile)
    }


def inference(network: ImageNetwork, x: NDArray, with_compile: bool) -> dict[str, Callable]:
    """Functions that compute the logits of `x`."""

    def runner(function: Callable, images: torch.Tensor) -> Callable[[], NDArray]:
        def run() -> NDArray:
            with torch.inference_mode():
                return function(images).numpy()

        return run

    found = {}
    for label, layout, compiled in ways(with_compile):
        model = with_weights(network.define(nn), network.model(), layout).eval()
        function = torch.compile(model, dynamic=False) if compiled else model
        found[label] = runner(function, tensor(x, layout))
    return found


class Passes:
    """Forward and backward pass of a layer, as fastnn's in image_layers.py."""

    def __init__(
        self,
        layer: ImageLayer,
        x: NDArray,
        dy: NDArray,
        layout: torch.memory_format,
        compiled: bool,
    ):
        module = with_weights(layer.define(nn), layer.module(), layout)
        self.parameters = list(module.parameters())
        self.function = torch.compile(module, dynamic=False) if compiled else module
        self.x, self.dy = tensor(x, layout), tensor(dy, layout)
        self.x.requires_grad_(not layer.is_first)
        self.y = self.function(self.x)

    def forward(self) -> None:
        """Of training: what the backward pass needs is kept."""
        self.y = self.function(self.x)

    def backward(self, retain_graph: bool = True) -> None:
        """All gradients, in new memory."""
        self.x.grad = None
        for parameter in self.parameters:
            parameter.grad = None
        self.y.backward(self.dy, retain_graph=retain_graph)

    def both(self) -> None:
        """One after the other, freeing on the way."""
        self.forward()
        self.backward(retain_graph=False)

    def runner(self, part: str) -> Callable[[], None]:
        """A function that runs a part."""
        return {FORWARD: self.forward, BACKWARD: self.backward}.get(part, self.both)

    def results(self) -> list[NDArray]:
        """Output, gradient of the input (where wanted), gradients of the parameters."""
        self.forward()
        self.backward()
        gradients = [self.x.grad] if self.x.requires_grad else []
        gradients += [parameter.grad for parameter in self.parameters]
        return [value.numpy() for value in (self.y.detach(), *gradients)]


def layer_passes(layer: ImageLayer, x: NDArray, dy: NDArray, with_compile: bool) -> dict:
    """By label a function that makes the passes of a layer: compiling may fail."""
    return {
        label: lambda layout=layout, compiled=compiled: Passes(layer, x, dy, layout, compiled)
        for label, layout, compiled in ways(with_compile)
    }
