"""What every layer computes: one forward and backward pass whose values are all kept.

    StepPrograms.compile(keep_all=True) ──▶ a program that uses no memory twice
    its forward nodes                   ──▶ a row for each layer: outputs, activation
    their backward nodes                ──▶ the gradient that arrives there

Fused nodes stay fused, so that what a training would run is what is looked at: a Linear and the
ReLU after it are one row, under the name of the Linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._compiler.graph import Graph, Node, Value
from fastnn._compiler.layout import PLAIN, is_image
from fastnn._compiler.trace import flatten_structure
from fastnn.nn.execution import as_array
from fastnn.nn.module import Module
from fastnn.nn.parameter import ensure_gradients
from fastnn.training.step import TrainingStep

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Operators whose output is a layer's; pooling, reshaping and sums only pass values on.
LAYERS = {
    "linear": "Linear",
    "conv2d": "Conv2d",
    "batchnorm": "BatchNorm",
    "activation": "",
    "prelu": "PReLU",
    "elu": "ELU",
    "maxout": "Maxout",
    "softmax": "Softmax",
}
ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "elu": "ELU",
}
# A unit is saturated where its derivative is below this share of the largest that it can have.
SATURATED_DERIVATIVE = 0.05


@dataclass(frozen=True)
class LayerValues:
    """A layer's outputs for a batch, units on the last axis.

    `gradient` is that of the loss by the layer's sums before the activation (after it for a
    BatchNorm), of the shape of the outputs; None where no gradient is computed.
    """

    name: str
    kind: str
    activation: str
    outputs: NDArray
    gradient: NDArray | None = None

    @property
    def saturated(self) -> float | None:
        """Share of outputs where sigmoid or tanh is flat; None for other activations."""
        return saturated_share(self.activation, self.outputs)

    @property
    def dead(self) -> float | None:
        """Share of ReLU units (channels of images) that are zero for every example."""
        if self.activation != "relu":
            return None
        return float(silent_units(self.outputs).mean())


def saturated_share(activation: str, outputs: NDArray) -> float | None:
    """Share of outputs with a derivative near zero: y (1 - y) or 1 - y^2 by the output y."""
    if activation == "tanh":
        return float((np.abs(outputs) > np.sqrt(1 - SATURATED_DERIVATIVE)).mean())
    if activation == "sigmoid":
        return float((np.abs(outputs - 0.5) > 0.5 * np.sqrt(1 - SATURATED_DERIVATIVE)).mean())
    return None


def silent_units(outputs: NDArray) -> NDArray:
    """Which units of a ReLU layer are zero for every example (and every pixel)."""
    largest = outputs.reshape(len(outputs), -1).max(axis=0)  # long rows first: they are fast
    return largest.reshape(-1, outputs.shape[-1]).max(axis=0) == 0


def look_inside(model: Module, loss: Module, X: Any, y: Any) -> tuple[float, list[LayerValues]]:
    """The loss of a batch and the values of each layer, forward and backward.

    Gradients of parameters go to their `grad`; running averages move in training mode.
    """
    step = TrainingStep(model, loss)
    ensure_gradients(p for p in [*model.parameters(), *loss.parameters()] if p.requires_grad)
    arrays = [as_array(leaf) for leaf in flatten_structure([X, y])]
    lowered = step.programs.compile(X, y, arrays, len(arrays[0]), keep_all=True).lowered
    lowered.program.load(0, *arrays)
    lowered.program.forward()
    lowered.program.backward()
    graph = lowered.graph
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}

    def array(value: Value) -> NDArray:
        view = lowered.view(value)
        return np.moveaxis(view, 1, -1) if is_image(value) and value.layout == PLAIN else view

    rows = []
    for node in layer_nodes(graph):
        arriving = arriving_gradient(graph, node)
        if arriving is not None and arriving not in lowered.plan.offsets:
            arriving = None
        rows.append(
            LayerValues(
                node.layer,
                kind_of(node, kinds),
                activation_of(node),
                array(node.outputs[0]),
                None if arriving is None else array(arriving),
            )
        )
    return lowered.program.read_loss(), rows


def layer_nodes(graph: Graph) -> list[Node]:
    """The forward nodes that are layers of the model."""
    return [
        node
        for node in graph.nodes[: graph.forward_count]
        if node.operator.name in LAYERS and node.layer.partition(".")[0] != "loss"
    ]


def activation_of(node: Node) -> str:
    """Which activation gave a node's output."""
    if node.operator.name == "activation":
        return node.attributes["kind"]
    return node.attributes.get("activation") or "identity"


def kind_of(node: Node, kinds: dict[str, str]) -> str:
    """A layer in words: "Linear + ReLU"."""
    own = LAYERS[node.operator.name]
    if own in ("Linear", "BatchNorm") and node.layer in kinds:
        own = kinds[node.layer]
    activation = ACTIVATIONS.get(activation_of(node), "")
    return " + ".join(part for part in (own, activation) if part)


def arriving_gradient(graph: Graph, node: Node) -> Value | None:
    """The gradient that the backward nodes of a layer start from."""
    prefix = f"{node.operator.name}_backward"
    for other in graph.nodes[graph.forward_count :]:
        name = other.operator.name
        if name.startswith(prefix) and other.layer == node.layer:
            if node.inputs[0] in other.inputs or node.outputs[0] in other.inputs:
                return other.inputs[1 if name.endswith("_parameters") else 0]
    return None
