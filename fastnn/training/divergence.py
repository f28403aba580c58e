"""What happens when a training explodes: a snapshot to go back to, and where it happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._compiler.graph import LABEL_DTYPE
from fastnn._compiler.trace import flatten_structure
from fastnn._core.constants import note_value_change

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.training.step import TrainingStep

# A loss this many times the first one is an explosion, says the course, finite or not.
EXPLODED = 3.0
LOWER = "a lower learning rate or max_grad_norm may help"
# Where no layer is to blame: why, and what to do.
REASONS = {
    "": ("every layer's values are finite", LOWER),
    "input": ("the batch's 'input' holds NaN or infinity", "leave these examples out"),
    "target": ("the batch's 'target' holds NaN or infinity", "leave these examples out"),
    "labels": (
        "no label of the batch counts, since each is ignore_index or has a class weight of 0, and "
        "the mean of no losses is NaN",
        "leave these examples out, or take larger batches",
    ),
}


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite.

    Parameters
    ----------
    batch : int
        Where, counted from 0.
    learning_rate : float
    layer : str
        The first layer with a value that is not finite, or "" if it was the loss alone. "input" or
        "target" if what was given holds NaN or infinity, "labels" if no label of the batch counts.
    epoch : int, optional
        Where, counted from 0; None outside of `Trainer.fit`.

    Attributes
    ----------
    batch, learning_rate, layer, epoch
        As above.
    history : History or None
        What `Trainer.fit` had recorded until then.
    """

    def __init__(
        self, batch: int, learning_rate: float, layer: str, epoch: int | None = None
    ) -> None:
        self.batch, self.learning_rate, self.layer = batch, learning_rate, layer
        self.epoch = epoch
        self.history: Any = None
        super().__init__(batch, learning_rate, layer, epoch)

    def __str__(self) -> str:
        where = (
            f"batch {self.batch}"
            if self.epoch is None
            else (f"epoch {self.epoch}, batch {self.batch}")
        )
        reason, advice = describe(self.layer)
        return (
            f"the loss is not finite at {where}, with learning rate {self.learning_rate:g}; "
            f"{reason}. The model keeps the last parameters with a finite loss; {advice}"
        )


def describe(layer: str) -> tuple[str, str]:
    """Why a training diverged and what to do, by what `first_bad_layer` found."""
    return REASONS.get(layer, (f"the first bad value is in layer {layer!r}", LOWER))


# How long a snapshot is young enough not to be taken anew: as long as an epoch keeps one.
FRESH_SECONDS = 0.03


class Snapshot:
    """Copies of everything that training changes."""

    def __init__(self, step: TrainingStep):
        self.take(step)

    def take(self, step: TrainingStep) -> None:
        """Copies everything, from where it lies now."""
        assert step.optimizer is not None
        sources: list[NDArray] = [buffer for _, buffer in step.model.named_buffers()]
        if step.optimizer.buffer is not None:
            sources += [step.optimizer.buffer.values, *step.optimizer.state.values()]
        self.sources = [*sources, step.optimizer.steps_taken]
        self.copies = [np.array(source) for source in self.sources]
        self.taken = time.perf_counter()
        self.versions = step.programs.versions

    def to_renew(self, step: TrainingStep) -> tuple[list[NDArray], list[NDArray]] | None:
        """What an epoch copies from and to, at its first step too; None while this is fresh."""
        if self.versions != step.programs.versions:  # memory may have moved
            self.take(step)
        now = time.perf_counter()
        if now - self.taken < FRESH_SECONDS:
            return None
        self.taken = now
        return self.sources, self.copies

    def restore(self) -> None:
        """Puts everything back."""
        for source, copy in zip(self.sources, self.copies, strict=True):
            source[...] = copy
        note_value_change()


def first_bad_layer(step: TrainingStep, X: Any, y: Any, arrays: list[NDArray]) -> str:
    """The first layer whose output or parameters hold a value that is not finite.

    Or what of the data is to blame, as in `TrainingDiverged`.
    """
    inputs = len(flatten_structure(X))
    for i, array in enumerate(arrays):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return "input" if i < inputs else "target"
    bad_parameters = [
        name.rpartition(".")[0]
        for name, parameter in step.model.named_parameters()
        if not np.isfinite(parameter.data).all()
    ]
    if bad_parameters:
        return bad_parameters[0]
    lowered = step.programs.compile(
        X, y, arrays, len(arrays[0]), keep_all=True, with_gradients=False
    ).lowered
    lowered.program.load(0, *arrays)
    lowered.program.forward()
    for node in lowered.graph.nodes[: lowered.graph.forward_count]:
        if node.operator.labels is not None and lowered.view(node.outputs[-1])[1] == 0:
            return "labels"  # the sum of their weights is zero
        for value in node.outputs:
            if value.dtype != LABEL_DTYPE and value in lowered.plan.offsets:
                if not np.isfinite(lowered.view(value)).all():
                    return node.layer
    return ""
