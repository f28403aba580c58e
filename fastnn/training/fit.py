"""The loop of `Trainer.fit`: epochs, what is measured after each, and who looks meanwhile.

Fit.run ──▶ epoch ──in one call, or in parts where a callback wants to look──▶ run_guarded
   ▲          └──▶ validation, a row of the history, callbacks
   └── until the last epoch, a callback's reason to stop, Ctrl-C or a divergence
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._compiler.trace import flatten_structure
from fastnn.training.divergence import Snapshot, TrainingDiverged
from fastnn.training.epoch import EpochData, EpochResult, run_guarded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets import Augment
    from fastnn.training.callbacks import Callback
    from fastnn.training.progress import Progress
    from fastnn.training.trainer import Trainer

# A validation takes batches of at least this many examples: fewer and larger ones are quicker.
LEAST_MEASURED_AT_ONCE = 256


@dataclass
class Fit:
    """One call of `Trainer.fit`; the trainer's `history`, `stop` and `steps_done` follow it.

    Attributes
    ----------
    inputs, targets : to train on
    validation_data : (X, y) or None
    rng : of the order of each epoch (with `shuffle`), and of what `augment` does
    """

    trainer: Trainer
    inputs: Any
    targets: Any
    validation_data: tuple[Any, Any] | None
    batch_size: int
    shuffle: bool
    augment: Augment | None
    rng: np.random.Generator
    callbacks: list[Callback]
    bar: Progress

    @property
    def examples(self) -> int:
        """How many an epoch has."""
        return len(flatten_structure(self.inputs)[0])

    def run(self, epochs: int, keep_best: bool) -> None:
        """Trains for some epochs, or until there is a reason to end."""
        trainer = self.trainer
        best: tuple[float, dict[str, NDArray]] | None = None
        trainer.model.train()
        for callback in self.callbacks:
            callback.on_fit_start(trainer)
        try:
            for epoch in range(epochs):
                row = self.epoch(epoch)
                trainer.history.append(row)
                if keep_best:
                    score = score_of(row)
                    if best is None or score > best[0]:
                        best = score, trainer.model.state_dict()
                for callback in self.callbacks:
                    callback.on_epoch_end(trainer, epoch, row)
                if trainer.stop:
                    break
        except KeyboardInterrupt:
            trainer.stop = "interrupted"
        except TrainingDiverged as error:
            error.history = trainer.history
            trainer.history.stopped = str(error)
            raise
        finally:
            self.bar.close()
            if best is not None:
                trainer.model.load_state_dict(best[1])
            for callback in self.callbacks:
                callback.on_fit_end(trainer)
        trainer.history.stopped = trainer.stop

    def epoch(self, epoch: int) -> dict[str, float]:
        """An epoch with its validation; what was measured."""
        self.bar.start_epoch(epoch)
        order = self.rng.permutation(self.examples) if self.shuffle else None
        row = self.train(epoch, self.data_of_epoch(), order)
        if self.validation_data is not None:
            measured = self.trainer.evaluate(
                *self.validation_data, batch_size=max(self.batch_size, LEAST_MEASURED_AT_ONCE)
            )
            row.update({f"val_{name}": value for name, value in measured.items()})
        self.bar.end_epoch(row)
        return row

    def data_of_epoch(self) -> EpochData:
        """The examples, augmented as in no epoch before."""
        augmentation = None
        if self.augment is not None:
            key = int(self.rng.integers(2**63))
            augmentation = self.augment.compiled(self.inputs, self.trainer.model.dtype, key)
        return EpochData(self.inputs, self.targets, self.batch_size, augmentation)

    def train(self, epoch: int, data: EpochData, order: NDArray | None) -> dict[str, float]:
        """The epoch's steps, and what they gave."""
        trainer = self.trainer
        trainer.model.train()
        started = time.perf_counter()
        try:
            if self.next_looks():
                result = self.train_in_parts(epoch, data, order)
            else:
                result = run_guarded(trainer.step, data, order, self.bar.update)
        except TrainingDiverged as error:
            raise TrainingDiverged(error.batch, error.learning_rate, error.layer, epoch) from None
        row = {"loss": result.loss}
        if result.accuracy is not None:
            row["accuracy"] = result.accuracy
        row["regularization_loss"] = trainer.step.regularization_loss
        row["lr"] = trainer.optimizer.param_groups[0]["lr"]
        row["examples_per_second"] = result.examples / (time.perf_counter() - started)
        return row

    def next_looks(self) -> dict[Callback, int]:
        """The callbacks that want to look at steps, and after which the next time."""
        done = self.trainer.steps_done
        steps = {callback: callback.next_step(done) for callback in self.callbacks}
        return {callback: step for callback, step in steps.items() if step is not None}

    def train_in_parts(self, epoch: int, data: EpochData, order: NDArray | None) -> EpochResult:
        """An epoch that returns to Python where a callback wants to look."""
        trainer, batch_size, total = self.trainer, self.batch_size, self.examples
        order = np.arange(total) if order is None else order
        sums = np.zeros(3)
        batches = examples = 0
        data.feed_to(trainer.step, order)
        snapshot = Snapshot(trainer.step)
        while examples < total:
            wanted = self.next_looks()
            left = -(-(total - examples) // batch_size)
            steps = min([left, *[step - trainer.steps_done for step in wanted.values()]])
            rows = order[examples : examples + steps * batch_size]
            if data.augmentation is not None:
                data.augmentation.place = examples
            try:
                result = run_guarded(trainer.step, data, rows, snapshot=snapshot)
            except TrainingDiverged as error:
                raise TrainingDiverged(
                    batches + error.batch, error.learning_rate, error.layer
                ) from None
            sums += [result.loss * len(rows), result.correct, result.counted]
            batches, examples = batches + steps, examples + len(rows)
            trainer.steps_done += steps
            trainer._last_rows = self.inputs, self.targets, rows[(steps - 1) * batch_size :]
            self.bar.update(batches, examples, *sums)
            for callback, step in wanted.items():
                if step == trainer.steps_done:
                    callback.on_step_end(trainer, epoch, batches - 1, result.loss)
            if trainer.stop:
                break
        return EpochResult(batches, examples, sums[0] / examples, sums[1], sums[2])


def score_of(row: dict[str, float]) -> float:
    """How good an epoch was: larger is better."""
    for name in ("val_accuracy", "val_loss", "accuracy", "loss"):
        if name in row:
            score = row[name] if name.endswith("accuracy") else -row[name]
            return -math.inf if math.isnan(score) else score
    return 0.0
