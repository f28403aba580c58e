"""What an optimizer does to flat buffers: the last nodes of a training graph.

They write buffers in place and have no outputs of their own but small ones.
"""

from __future__ import annotations

from fastnn._compiler.graph import Spec
from fastnn._compiler.operators.base import ELEMENTS_PER_NANOSECOND, Call, Operator, elements
from fastnn._core.dispatch import constants

# Elements that a partial sum of the gradient's norm, a double, stands for.
NORM_CHUNK = constants("update").CHUNK

# The numbers that the kernel takes at each step, in its order.
SGD_OPTIONS = ("lr", "momentum", "dampening", "weight_decay", "nesterov")


class SGDUpdate(Operator):
    """One step of SGD on a run of the flat buffer.

    Inputs weight, velocity, gradient, clip factor, steps taken, bounds of the parameters in the run
    (parameters + 1,); attributes lr, momentum, dampening, weight_decay, nesterov.
    """

    name = "sgd_update"
    updates_state = True
    is_update = True

    def infer(self, node):
        return []

    def lower(self, node):
        weight, bounds = node.inputs[0], node.inputs[5]
        attributes = node.attributes
        return [
            Call(
                "sgd_update",
                node.inputs,
                [bounds.example_size - 1],
                [float(attributes[name]) for name in SGD_OPTIONS],
                elements(weight) * (4 / ELEMENTS_PER_NANOSECOND),
            )
        ]

    def flops(self, node):
        # Learning rate 2; momentum 2 and dampening 1; weight decay 2; clipping 1.
        attributes = node.attributes
        each = 2 + (3 if attributes["momentum"] else 0) + (2 if attributes["weight_decay"] else 0)
        return (each + (node.inputs[3] is not None)) * node.inputs[0].example_size


class CountStep(Operator):
    """Adds one to the number of steps taken."""

    name = "count_step"
    updates_state = True
    is_update = True

    def infer(self, node):
        return []

    def lower(self, node):
        return [Call("count_step", node.inputs)]


class SquaredNorm(Operator):
    """The sum of squares of a run of the flat gradient."""

    name = "squared_norm"
    is_update = True

    def infer(self, node):
        return [Spec((1,), node.inputs[0].dtype, batched=False)]

    def lower(self, node):
        (gradient,) = node.inputs
        return [
            Call(
                "squared_norm",
                [node.outputs[0], gradient],
                [elements(gradient)],
                [],
                elements(gradient) * (1 / ELEMENTS_PER_NANOSECOND),
                8 * (gradient.example_size // NORM_CHUNK + 1),
            )
        ]

    def flops(self, node):
        return 2 * node.inputs[0].example_size


class ClipFactor(Operator):
    """min(1, max_norm / norm) and the norm; inputs squared norms side by side in one buffer."""

    name = "clip_factor"
    is_update = True

    def infer(self, node):
        scalar = Spec((1,), node.inputs[0].dtype, batched=False)
        return [scalar, scalar]

    def lower(self, node):
        return [
            Call(
                "clip_factor",
                [*node.outputs, node.inputs[0]],
                [node.inputs[0].example_size],
                [node.attributes["max_norm"]],
            )
        ]
