"""An epoch over a data set, which goes back to a good state if the loss stops being finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array
from fastnn._core.epoch import run_epoch
from fastnn.nn.execution import map_data
from fastnn.training.divergence import Snapshot, TrainingDiverged, first_bad_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn._core.augmentation import Augmentation
    from fastnn._core.feed import Feed
    from fastnn.training.step import TrainingStep


@dataclass
class EpochData:
    """What an epoch goes through; what is checked of it serves all its parts (`feed`)."""

    inputs: Any
    targets: Any
    batch_size: int
    augmentation: Augmentation | None = None
    feed: Feed | None = None

    def __post_init__(self) -> None:
        self.inputs = map_data(to_array, self.inputs)
        self.targets = map_data(to_array, self.targets)

    def feed_to(self, step: TrainingStep, indices: Any) -> Feed:
        """The examples with the step's program, as it has to be now."""
        examples = None if indices is None else len(np.atleast_1d(indices))
        self.feed = step.feed(
            self.inputs, self.targets, self.batch_size, examples, self.augmentation, self.feed
        )
        return self.feed


@dataclass(frozen=True)
class EpochResult:
    """What an epoch gave."""

    batches: int
    examples: int
    loss: float
    correct: float
    counted: float

    @property
    def accuracy(self) -> float | None:
        """Share of correct rows, or None for a loss without labels."""
        return self.correct / self.counted if self.counted else None


def run_guarded(
    step: TrainingStep,
    data: EpochData,
    indices: Any,
    callback: Any = None,
    snapshot: Snapshot | None = None,
) -> EpochResult:
    """Trains with all examples, or with those that `indices` names, in its order.

    The parts of an epoch that returns to Python now and then share `data` and a `snapshot`.

    Raises
    ------
    TrainingDiverged
        If a loss is not finite; the parameters are those of the snapshot then.
    """
    indices = None if indices is None else to_array(indices)
    feed = data.feed_to(step, indices)
    renewed: tuple[list[NDArray], list[NDArray]] | None
    if snapshot is None:
        snapshot = Snapshot(step)
        renewed = snapshot.sources, snapshot.copies
    else:
        renewed = snapshot.to_renew(step)
    batches, examples, loss_sum, correct, counted, finite = run_epoch(
        feed, indices, True, callback, renewed
    )
    if not finite:
        batch = batch_of(feed, indices, batches)
        layer = first_bad_layer(step, data.inputs, data.targets, batch)
        snapshot.restore()
        assert step.optimizer is not None
        raise TrainingDiverged(batches, step.optimizer.param_groups[0]["lr"], layer)
    return EpochResult(batches, examples, loss_sum / examples, correct, counted)


def batch_of(feed: Feed, indices: Any, number: int) -> list[NDArray]:
    """The arrays of a batch of an epoch, as the program got them."""
    order = np.arange(feed.examples) if indices is None else indices
    first = number * feed.batch_size
    rows = order[first : first + feed.batch_size]
    batch = [array[rows] for array in feed.arrays]
    if feed.augmentation is not None:
        place = feed.augmentation.place + first
        batch[0] = feed.augmentation.batch(feed.arrays[0], rows, place)
    return batch
