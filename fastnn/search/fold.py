"""One training of a trial, watched for divergence and for an end of improvement.

Everything here must come out the same on every machine and at every load: losses are looked at
after fixed numbers of batches, never by the clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._compiler.trace import flatten_structure
from fastnn.random import own_generator
from fastnn.search.trial import FoldResult, finite
from fastnn.training import Trainer
from fastnn.training.divergence import first_bad_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A loss this many times the first one is an explosion, says the course.
EXPLODED = 3.0
# How often an epoch is interrupted to look at its loss, and over how many batches at least the mean
# is taken: single batches of a healthy training may well lie far above the mean. After the first
# epoch explosions are rare, and each look takes the interpreter from the other trials. (A loss that
# is not finite ends an epoch at its batch in any case.)
LOOKS_PER_EPOCH = 8
LEAST_BATCHES_AT_FIRST = 16
LEAST_BATCHES = 256
# The first loss is taken over this many examples or a batch, whichever is more.
FIRST_EXAMPLES = 64
# Batch size of the validation; results don't depend on it.
MEASURED_AT_ONCE = 256

# Inputs and targets to train on, inputs and targets held out.
Data = tuple[Any, Any, Any, Any]


class Cancelled(Exception):
    """The search is being given up."""


def train_fold(
    build: Callable[[dict[str, Any]], tuple],
    params: dict[str, Any],
    data: Callable[[np.dtype], Data],
    metric: Metric,
    epochs: int,
    batch_size: int,
    patience: int | None,
    seed: np.random.SeedSequence,
    cancelled: Callable[[], bool],
) -> FoldResult:
    """Builds a model, trains it and measures it on what was held out.

    `data` gives, in the model's precision, the two arrays to train on and the two held out.
    """
    with own_generator(seed) as rng:
        trainer = make_trainer(build(dict(params)))
        arrays = data(trainer.model.dtype)
        return _train(trainer, arrays, metric, epochs, batch_size, patience, rng, cancelled)


def make_trainer(built: Any) -> Trainer:
    """A trainer of what `build` returned."""
    if isinstance(built, Trainer):
        return built
    if not isinstance(built, (tuple, list)) or len(built) != 3:
        raise TypeError(
            f"build: returned {type(built).__name__}, expected (model, loss, optimizer)"
        )
    return Trainer(*built)


class Metric:
    """What a trial is judged by.

    Parameters
    ----------
    given : "accuracy", "loss", callable or None
        A callable gets (targets, predictions). None is the accuracy where the loss has labels.
    maximize : bool, optional
        By default whatever it is not a loss is better the larger.
    """

    def __init__(self, given: Any = None, maximize: bool | None = None):
        if given is not None and given not in ("accuracy", "loss") and not callable(given):
            raise ValueError(
                f"metric: got {given!r}, expected 'accuracy', 'loss' or a function of (targets, "
                "predictions)"
            )
        self.given, self.maximize = given, maximize

    @property
    def name(self) -> str:
        """What it is called where results are shown."""
        if self.given is None or isinstance(self.given, str):
            return self.given or "score"
        return getattr(self.given, "__name__", type(self.given).__name__)

    def of(self, trainer: Trainer, loss: float, accuracy: float | None, X: Any, y: Any) -> float:
        """The metric on data that gave a loss and, where there are labels, an accuracy."""
        if callable(self.given):
            return float(self.given(y, trainer.predict(X)))
        if self.given == "accuracy" and accuracy is None:
            raise ValueError(
                f"metric: got 'accuracy', but {type(trainer.loss).__name__} has no labels to be "
                "right about; expected 'loss' or a function of (targets, predictions)"
            )
        return loss if self.given == "loss" or accuracy is None else accuracy

    def larger_is_better(self, y: Any) -> bool:
        """The direction; `y` tells whether there are labels."""
        if self.maximize is not None:
            return self.maximize
        if self.given is None:
            return are_labels(y)
        return self.given != "loss"


def are_labels(y: Any) -> bool:
    """Whether targets are whole numbers, one for each example."""
    return isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "iub"


def _train(
    trainer: Trainer,
    data: Data,
    metric: Metric,
    epochs: int,
    batch_size: int,
    patience: int | None,
    rng: np.random.Generator,
    cancelled: Callable[[], bool],
) -> FoldResult:
    X, y, X_held, y_held = data
    count = len(flatten_structure(X)[0])
    larger = metric.larger_is_better(y)
    losses: list[float | None] = []
    val_losses: list[float | None] = []
    scores: list[float | None] = []
    best_epoch, best = None, -math.inf

    def result(stopped: str | None = None, diverged: bool = False) -> FoldResult:
        epoch = best_epoch if patience is not None else len(scores) - 1
        score = None if diverged or epoch is None else scores[epoch]
        return FoldResult(
            score,
            None if diverged else epoch,
            finite(first),
            tuple(losses),
            tuple(val_losses),
            tuple(scores),
            stopped,
            diverged,
        )

    trainer.model.train()
    order = rng.permutation(count)
    first = first_loss(trainer, X, y, order[: max(batch_size, FIRST_EXAMPLES)])
    if not math.isfinite(first):
        return result("the first loss is not finite", diverged=True)
    train = trainer.step.repeated(X, y, batch_size)
    with trainer.model.evaluating():
        measure = trainer.measuring.repeated(X_held, y_held, MEASURED_AT_ONCE)
    for epoch in range(epochs):
        mean, bad_rows, exploded = watched_epoch(
            train,
            order,
            batch_size,
            LEAST_BATCHES if epoch else LEAST_BATCHES_AT_FIRST,
            EXPLODED * first,
            cancelled,
        )
        losses.append(finite(mean))
        if bad_rows is not None:
            batch = [take(part, bad_rows) for part in flatten_structure([X, y])]
            layer = first_bad_layer(trainer.step, X, y, batch)
            where = f", first in layer {layer!r}" if layer else ""
            return result(f"the loss is not finite in epoch {epoch}{where}", diverged=True)
        if exploded:
            return result(
                f"the loss is {mean:.4g} in epoch {epoch}, more than {EXPLODED:g} times the first, "
                f"{first:.4g}",
                diverged=True,
            )
        _, examples, loss_sum, correct, counted, is_finite = measure(None)
        val_loss = loss_sum / examples if is_finite else math.nan
        accuracy = correct / counted if counted else None
        score = metric.of(trainer, val_loss, accuracy, X_held, y_held)
        val_losses.append(finite(val_loss))
        scores.append(finite(score))
        if scores[-1] is None:
            return result(f"the metric is {score} in epoch {epoch}", diverged=True)
        signed = score if larger else -score
        if signed > best:
            best_epoch, best = epoch, signed
        elif patience is not None and epoch - best_epoch >= patience:
            return result(f"no better for {patience} epochs")
        order = rng.permutation(count)
    return result()


def first_loss(trainer: Trainer, X: Any, y: Any, rows: NDArray) -> float:
    """The training loss before any update; running averages stay as they were."""
    kept = [(buffer, buffer.copy()) for _, buffer in trainer.model.named_buffers()]
    loss = trainer.step.forward(take(X, rows), take(y, rows))
    for buffer, values in kept:
        buffer[...] = values
    return loss


def watched_epoch(
    train: Callable[[NDArray], tuple],
    order: NDArray,
    batch_size: int,
    least_batches: int,
    limit: float,
    cancelled: Callable[[], bool],
) -> tuple[float, NDArray | None, bool]:
    """An epoch by stretches of some batches, ended where its loss explodes.

    Returns
    -------
    loss : float
        Mean of the epoch, or of the stretch that went over the limit.
    bad_rows : array or None
        The batch whose loss was not finite.
    exploded : bool
        Whether a stretch's loss went over the limit.
    """
    if len(order) > batch_size and len(order) % batch_size == 1:
        order = order[:-1]  # a batch of one has no variance, and batch normalization refuses it
    batches = -(-len(order) // batch_size)
    stretch = max(least_batches, -(-batches // LOOKS_PER_EPOCH)) * batch_size
    total = 0.0
    for start in range(0, len(order), stretch):
        if cancelled():
            raise Cancelled
        rows = order[start : start + stretch]
        done, examples, loss_sum, _, _, is_finite = train(rows)
        if not is_finite:
            return math.nan, rows[done * batch_size :][:batch_size], False
        if loss_sum / examples > limit:
            return loss_sum / examples, None, True
        total += loss_sum
    return total / len(order), None, False


def take(data: Any, rows: NDArray) -> Any:
    """Rows of an array, or of every array of a tuple, list or dict."""
    if isinstance(data, dict):
        return {key: take(item, rows) for key, item in data.items()}
    if isinstance(data, (tuple, list)):
        return type(data)(take(item, rows) for item in data)
    return np.ascontiguousarray(data[rows])
