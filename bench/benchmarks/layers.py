"""Single layers, forward and backward."""

import numpy as np

from fastnn import nn
from fastnn._compiler import compile_gradient
from fastnn.nn.execution import input_spec, layer_names
from fastnn.nn.parameter import ensure_gradients

ACTIVATIONS = ["Tanh", "ELU", "Sigmoid", "ReLU", "LeakyReLU", "PReLU"]


def gradient_program(module: nn.Module, shape: tuple[int, int]):
    """The module's compiled passes, with random input and gradient bound to them."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    ensure_gradients(p for p in module.parameters() if p.requires_grad)
    spec, names = input_spec(x, x.dtype), layer_names(module)
    compiled = compile_gradient(module, [spec], ["input"], x.dtype.name, len(x), names)
    compiled.lowered.program.load(0, x, dy)
    return compiled


class Activation:
    """An activation over 1024 rows."""

    params = [ACTIVATIONS, [65_536, 4_194_304]]
    param_names = ["activation", "elements"]

    def setup(self, name: str, elements: int) -> None:
        self.compiled = gradient_program(getattr(nn, name)(), (1024, elements // 1024))

    def time_forward_backward(self, name: str, elements: int) -> None:
        self.compiled.lowered.program.forward()
        self.compiled.lowered.program.backward()


class BatchNorm:
    """BatchNorm1d and ReLU over 128 rows of 512."""

    def setup(self) -> None:
        module = nn.Sequential(nn.BatchNorm1d(512), nn.ReLU())
        self.compiled = gradient_program(module, (128, 512))

    def time_forward_backward(self) -> None:
        self.compiled.lowered.program.forward()
        self.compiled.lowered.program.backward()
