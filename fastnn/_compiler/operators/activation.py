"""Activations: of fixed form, with learned parameters, and softmax."""

from __future__ import annotations

from fastnn._compiler.activations import EXPONENTIAL, KINDS
from fastnn._compiler.operators.base import (
    ELEMENTS_PER_NANOSECOND,
    EXPONENTIALS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require,
    rows,
    same,
)
from fastnn._core.dispatch import constants

LEARNED = constants("learned_activation")


class Activation(Operator):
    """y = f(x), f by the attribute `kind`; `slope` is leaky ReLU's factor or ELU's alpha."""

    name = "activation"
    in_place = ((0, 0),)
    is_activation = True

    def infer(self, node):
        return [same(node.inputs[0])]

    def backward(self, node, gradients):
        return node.inputs[0].graph.record(
            "activation_backward", [gradients[0], node.outputs[0]], **node.attributes
        )

    def lower(self, node):
        kind = node.attributes["kind"]
        return [
            Call(
                "activation_forward",
                [node.outputs[0], node.inputs[0]],
                [elements(node.outputs[0]), KINDS[kind]],
                [node.attributes.get("slope", 0.0)],
                activation_time(node.outputs[0], kind),
            )
        ]


class ActivationBackward(Operator):
    """dx = dy f'(x), by the output y; inputs dy, y."""

    name = "activation_backward"
    in_place = ((0, 0),)
    is_activation_gradient = True

    def infer(self, node):
        return [same(node.inputs[0])]

    def lower(self, node):
        dy, y = node.inputs
        return [
            Call(
                "activation_backward",
                [node.outputs[0], dy, y],
                [elements(y), KINDS[node.attributes["kind"]]],
                [node.attributes.get("slope", 0.0)],
                activation_time(y, "relu"),
            )
        ]


class PReLU(Operator):
    """y = x where x > 0, else slope * x; inputs x, slope (1,) or (channels,)."""

    name = "prelu"
    layout = "channels"

    def infer(self, node):
        x, slope = node.inputs
        require(
            slope.shape in ((1,), (x.columns,)),
            f"got slopes of shape {slope.shape}, expected (1,) or one for each channel, "
            f"({x.columns},)",
        )
        return [same(x)]

    def backward(self, node, gradients):
        x, parameter = node.inputs
        return x.graph.record(f"{self.name}_backward", [gradients[0], x, parameter])

    def lower(self, node):
        x, parameter = node.inputs
        return [
            Call(
                f"{self.name}_forward",
                [node.outputs[0], x, parameter],
                learned_sizes(self.name, x, parameter),
                [],
                activation_time(x, self.name),
                learned_workspace(x, parameter),
            )
        ]


class PReLUBackward(Operator):
    """dx, dslope; inputs dy, x, slope."""

    name = "prelu_backward"
    layout = "channels"
    in_place = ((0, 0),)

    def infer(self, node):
        _, x, parameter = node.inputs
        return [same(x), same(parameter)]

    def lower(self, node):
        dy, x, parameter = node.inputs
        operator = self.name.removesuffix("_backward")
        return [
            Call(
                self.name,
                [*node.outputs, dy, x, parameter],
                learned_sizes(operator, x, parameter),
                [],
                activation_time(x, operator),
                learned_workspace(x, parameter),
            )
        ]


class LearnedELU(PReLU):
    """y = x where x > 0, else alpha (exp(x) - 1); inputs x, alpha (1,)."""

    name = "elu"
    layout = "any"

    def infer(self, node):
        x, alpha = node.inputs
        require(alpha.shape == (1,), f"got {alpha.example_size} alphas, expected 1")
        return [same(x)]


class LearnedELUBackward(PReLUBackward):
    """dx, dalpha; inputs dy, x, alpha."""

    name = "elu_backward"
    layout = "any"


class Softmax(Operator):
    """y = exp(x) / sum exp(x) over the last axis, or its logarithm (attribute `log`)."""

    name = "softmax"
    layout = "plain"
    in_place = ((0, 0),)

    def infer(self, node):
        x = node.inputs[0]
        require(
            len(x.example_shape) >= 1,
            "got an input of shape (batch,), expected (batch, ..., classes)",
        )
        return [same(x)]

    def backward(self, node, gradients):
        return node.inputs[0].graph.record(
            "softmax_backward", [gradients[0], node.outputs[0]], **node.attributes
        )

    def lower(self, node):
        return [softmax_call("forward", [node.outputs[0], node.inputs[0]], node)]


class SoftmaxBackward(Operator):
    """dx = y (dy - sum dy y), or dy - exp(y) sum dy; inputs dy, y."""

    name = "softmax_backward"
    layout = "plain"

    def infer(self, node):
        return [same(node.inputs[0])]

    def lower(self, node):
        return [softmax_call("backward", [node.outputs[0], *node.inputs], node)]


def softmax_call(direction, data, node):
    """The kernel of softmax or of its logarithm."""
    name = "log_softmax" if node.attributes.get("log") else "softmax"
    x = data[0]
    return Call(
        f"{name}_{direction}", data, [rows(x), x.columns], [], activation_time(x, "sigmoid")
    )


def learned_sizes(operator, x, parameter):
    """One slope serves a flat array; one a channel needs rows."""
    if operator == "elu":
        return [elements(x)]
    return [rows(x), x.columns, parameter.example_size]


def learned_workspace(x, parameter):
    """Partial sums of the parameter's gradient.

    With one parameter a double for each chunk; with one a channel a band of sums for each part and
    one of slopes, a band being a row or at most 4,096 elements.
    """
    if parameter.example_size == 1:
        return elements(x) * (8 / LEARNED.CHUNK) + 64
    return (LEARNED.MAX_PARTS + 2) * 8 * (max(x.columns, 4096) + 256)


def activation_time(value, kind):
    """Estimated nanoseconds of an elementwise activation."""
    fast = EXPONENTIALS_PER_NANOSECOND if kind in EXPONENTIAL else ELEMENTS_PER_NANOSECOND
    return elements(value) * (1 / fast)
