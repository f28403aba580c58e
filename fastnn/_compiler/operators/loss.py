"""Losses: each gives a loss, a reduction of it, and what its backward needs."""

from __future__ import annotations

from fastnn._compiler.graph import LABEL_DTYPE, Input, Spec
from fastnn._compiler.operators.base import (
    ELEMENTS_PER_NANOSECOND,
    EXPONENTIALS_PER_NANOSECOND,
    Call,
    Operator,
    elements,
    require,
    rows,
    same,
    shape_of,
)
from fastnn._core.dispatch import constants

LOSSES = constants("loss")
REDUCTIONS = {"mean": LOSSES.MEAN, "sum": LOSSES.SUM, "none": LOSSES.NONE}


class LabelLoss(Operator):
    """A loss of scores (batch, classes) against labels (batch,).

    Outputs: loss, loss of each row, what backward needs, statistics (4,): the sum of losses, of
    weights, the number of correct rows and of rows that count.
    """

    labels = 1

    def infer(self, node):
        scores, labels, weight = node.inputs
        require(
            len(scores.example_shape) == 1 and scores.batched,
            f"got scores of shape {scores.shape}, expected (batch, classes)",
        )
        require(
            labels.example_shape == () and labels.dtype == LABEL_DTYPE,
            f"got a target of {labels!r}, expected integer labels of shape (batch,)",
        )
        require(
            weight is None or weight.shape == scores.example_shape,
            f"got {shape_of(weight)} class weights, expected {scores.columns}",
        )
        per_row = Spec((), scores.dtype)
        whole = Spec((), scores.dtype, batched=False)
        loss = per_row if node.attributes["reduction"] == "none" else whole
        return [loss, per_row, *self.saved(scores), Spec((4,), scores.dtype, batched=False)]

    def saved(self, scores):
        """Specs of what backward needs of the forward pass besides the scores."""
        return []

    def loss_pointer(self, node):
        """With no reduction the losses of the rows are the loss."""
        return None if node.attributes["reduction"] == "none" else node.outputs[0]

    def row_losses(self, node):
        """Where the losses of the rows go."""
        return node.outputs[0 if node.attributes["reduction"] == "none" else 1]


class CrossEntropy(LabelLoss):
    """-log softmax(x)[label], as PyTorch's; inputs logits, labels, class weight or None.

    Attributes: `reduction`, `ignore_index`, `label_smoothing`.
    """

    name = "cross_entropy"
    layout = "plain"

    def saved(self, scores):
        return [same(scores)]

    def backward(self, node, gradients):
        logits, labels, weight = node.inputs
        _, _, probabilities, statistics = node.outputs
        dlogits = logits.graph.record(
            "cross_entropy_backward",
            [gradients[0], probabilities, statistics, labels, weight],
            **node.attributes,
        )
        return [*dlogits, None, None]

    def lower(self, node):
        logits, labels, weight = node.inputs
        _, _, probabilities, statistics = node.outputs
        return [
            Call(
                "cross_entropy_forward",
                [
                    self.loss_pointer(node),
                    self.row_losses(node),
                    probabilities,
                    statistics,
                    logits,
                    labels,
                    weight,
                ],
                cross_entropy_sizes(node, logits),
                [node.attributes["label_smoothing"]],
                elements(logits) * (1 / EXPONENTIALS_PER_NANOSECOND),
            )
        ]

    def flops(self, node):
        return 4 * node.inputs[0].example_size


class CrossEntropyBackward(Operator):
    """dlogits; inputs upstream gradient, probabilities, statistics, labels, class weight."""

    name = "cross_entropy_backward"
    layout = "plain"

    def infer(self, node):
        return [same(node.inputs[1])]

    def lower(self, node):
        probabilities = node.inputs[1]
        return [
            Call(
                "cross_entropy_backward",
                [node.outputs[0], *node.inputs],
                cross_entropy_sizes(node, probabilities),
                [node.attributes["label_smoothing"]],
                elements(probabilities) * (2 / ELEMENTS_PER_NANOSECOND),
            )
        ]


def cross_entropy_sizes(node, logits):
    """Rows, classes, how to reduce and which label to ignore."""
    reduction = REDUCTIONS[node.attributes["reduction"]]
    return [rows(logits), logits.columns, reduction, node.attributes["ignore_index"]]


class MultiMargin(LabelLoss):
    """sum over j != label of max(0, margin - x[label] + x[j])^p / classes, as PyTorch's.

    Attributes: `reduction`, `p`, `margin`.
    """

    name = "multi_margin"
    layout = "plain"

    def backward(self, node, gradients):
        scores, labels, weight = node.inputs
        dscores = scores.graph.record(
            "multi_margin_backward", [gradients[0], scores, labels, weight], **node.attributes
        )
        return [*dscores, None, None]

    def lower(self, node):
        return [
            Call(
                "multi_margin_forward",
                [self.loss_pointer(node), self.row_losses(node), node.outputs[-1], *node.inputs],
                *multi_margin_numbers(node, node.inputs[0]),
            )
        ]

    def flops(self, node):
        return 4 * node.inputs[0].example_size


class MultiMarginBackward(Operator):
    """dscores; inputs upstream gradient, scores, labels, class weight."""

    name = "multi_margin_backward"
    layout = "plain"

    def infer(self, node):
        return [same(node.inputs[1])]

    def lower(self, node):
        return [
            Call(
                "multi_margin_backward",
                [node.outputs[0], *node.inputs],
                *multi_margin_numbers(node, node.inputs[1]),
            )
        ]


def multi_margin_numbers(node, scores):
    """Sizes, scalars and time of both directions."""
    attributes = node.attributes
    return (
        [rows(scores), scores.columns, REDUCTIONS[attributes["reduction"]], attributes["p"]],
        [attributes["margin"]],
        elements(scores) * (2 / ELEMENTS_PER_NANOSECOND),
    )


class ElementLoss(Operator):
    """A loss of each element of x against a target of the same shape.

    Inputs x, target and perhaps weights by column. Outputs: loss, partial sums.
    """

    by_columns = False

    def infer(self, node):
        x, target, *weights = node.inputs
        require(
            target.example_shape == x.example_shape,
            f"got a target of shape {target.shape}, expected {x.shape}",
        )
        for weight in weights:
            require(
                weight is None or weight.shape == (x.columns,),
                f"got a weight of shape {shape_of(weight)}, expected {(x.columns,)}",
            )
        if isinstance(target.source, Input):
            target.dtype = x.dtype  # whole numbers serve as a target of real ones
        partials = Spec((x.rows + x.example_size // LOSSES.CHUNK + 1,), x.dtype)
        if node.attributes["reduction"] == "none":
            return [same(x), partials]
        return [Spec((), x.dtype, batched=False), partials]

    def backward(self, node, gradients):
        x = node.inputs[0]
        dx = x.graph.record(
            f"{self.name}_backward", [gradients[0], *node.inputs], **node.attributes
        )
        return dx + [None] * (len(node.inputs) - 1)

    def lower(self, node):
        loss, partials = node.outputs
        whole = [loss, None] if node.attributes["reduction"] != "none" else [None, loss]
        return [
            Call(
                f"{self.name}_forward",
                [*whole, partials, *node.inputs],
                element_loss_sizes(node, node.inputs[0]),
                [],
                elements(node.inputs[0]) * (1 / EXPONENTIALS_PER_NANOSECOND),
            )
        ]

    def flops(self, node):
        return 3 * node.inputs[0].example_size


class ElementLossBackward(Operator):
    """dx; inputs upstream gradient, x, target and perhaps weights."""

    by_columns = False

    def infer(self, node):
        return [same(node.inputs[1])]

    def lower(self, node):
        x = node.inputs[1]
        return [
            Call(
                self.name,
                [node.outputs[0], *node.inputs],
                element_loss_sizes(node, x),
                [],
                elements(x) * (1 / EXPONENTIALS_PER_NANOSECOND),
            )
        ]


def element_loss_sizes(node, x):
    """A flat array where no weights by column are among the operands."""
    shape = [rows(x), x.columns] if node.operator.by_columns else [elements(x)]
    return [*shape, REDUCTIONS[node.attributes["reduction"]]]


class SquaredError(ElementLoss):
    """(x - target)^2"""

    name = "squared_error"


class SquaredErrorBackward(ElementLossBackward):
    """2 (x - target)"""

    name = "squared_error_backward"


class BinaryCrossEntropy(ElementLoss):
    """-(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))); inputs x, target, weight, pos_weight."""

    name = "binary_cross_entropy"
    layout = "plain"
    by_columns = True


class BinaryCrossEntropyBackward(ElementLossBackward):
    """sigmoid(x) - t"""

    name = "binary_cross_entropy_backward"
    layout = "plain"
    by_columns = True
