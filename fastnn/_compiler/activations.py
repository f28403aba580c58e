"""Activations that a kernel can apply to its own output, and their numbers in a step.

Their gradients are functions of the output, so that the input of such an activation is never kept.
"""

from __future__ import annotations

from fastnn._compiler.graph import Node
from fastnn._core.dispatch import constants

KINDS = {name.lower(): number for name, number in vars(constants("activation")).items()}

EXPONENTIAL = {"sigmoid", "tanh", "elu"}


def activation_of(node: Node) -> str:
    """The name of the activation that was fused into a node."""
    return node.attributes.get("activation", "identity")
