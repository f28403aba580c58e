"""Activations that a kernel can apply to its own output: names and numbers.

The numbers are those of fastnn/_core/kernels/vector_math.pxd. Their gradients are functions of
the output, so that the input of such an activation is never kept.
"""

from __future__ import annotations

from fastnn._compiler.graph import Node

KINDS = {"identity": 0, "relu": 1, "leaky_relu": 2, "sigmoid": 3, "tanh": 4, "elu": 5}

EXPONENTIAL = {"sigmoid", "tanh", "elu"}


def activation_of(node: Node) -> str:
    """The name of the activation that was fused into a node."""
    return node.attributes.get("activation", "identity")
