"""One training of a trial, watched for divergence and for an end of improvement.

Everything here must come out the same on every machine and at every load: losses are looked at
after fixed numbers of batches, never by the clock.
"""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from fastnn._compiler.trace import flatten_structure
from fastnn._core.rounds import run_rounds
from fastnn._core.shuffle import shuffled
from fastnn.random import new_seed, own_generator
from fastnn.search.trial import FoldResult, finite
from fastnn.training import Trainer
from fastnn.training.data import rows_of
from fastnn.training.divergence import EXPLODED, describe, first_bad_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How often in an epoch its loss is looked at, and over how many batches at least the mean is taken:
# single batches of a healthy training may well lie far above the mean, and after the first epoch
# explosions are rare. (A loss that is not finite ends an epoch at its batch in any case.)
LOOKS_PER_EPOCH = 8
LEAST_BATCHES_AT_FIRST = 16
LEAST_BATCHES = 256
# The first loss is taken over this many examples or a batch, whichever is more.
FIRST_EXAMPLES = 64
# Batch size of the validation; results don't depend on it.
MEASURED_AT_ONCE = 256
# Who builds and compiles, and for how many seconds others wait for it.
TURN = threading.Lock()
LONGEST_WAIT = 0.02
# What trials have trained so far, as long as anybody else holds it.
TRAINED: WeakSet[Any] = WeakSet()

# Inputs and targets to train on, inputs and targets held out.
Data = tuple[Any, Any, Any, Any]


class Cancelled(Exception):
    """The search is being given up."""


@dataclass(frozen=True)
class Rules:
    """How a fold is trained: epochs at most, examples a batch, epochs to wait for a better metric.

    Without `patience` a training goes on to its end, and its last epoch counts.
    """

    metric: Metric
    epochs: int
    batch_size: int
    patience: int | None


def train_fold(
    build: Callable[[dict[str, Any]], Any],
    params: dict[str, Any],
    data: Callable[[np.dtype], Data],
    rules: Rules,
    seed: np.random.SeedSequence,
    cancelled: Callable[[], bool],
) -> FoldResult:
    """Builds a model, trains it and measures it on what was held out.

    `data` gives, in the model's precision, the two arrays to train on and the two held out.
    """
    with own_generator(seed), ExitStack() as turn:
        turn.enter_context(taking_turns())
        trainer = make_trainer(build(dict(params)))
        return train(trainer, data(trainer.model.dtype), rules, cancelled, turn.close)


@contextmanager
def taking_turns() -> Iterator[None]:
    """Lets one thread of the process build and compile at a time, while others compute.

    Two threads in the interpreter take it from each other, so that both end late and then compute
    at once, with the interpreter idle. Who has waited for long goes ahead: whoever has the turn may
    be waiting for this very thread, if `build` does a search of its own.
    """
    has_turn = TURN.acquire(timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        if has_turn:
            TURN.release()


def make_trainer(built: Any) -> Trainer:
    """A trainer of what `build` returned, which must be new: trials would change each other's."""
    if isinstance(built, Trainer):
        trainer = built
    elif isinstance(built, (tuple, list)) and len(built) == 3:
        trainer = Trainer(*built)
    else:
        raise TypeError(
            f"build: returned {type(built).__name__}, expected (model, loss, optimizer)"
        )
    for name, part in (("model", trainer.model), ("optimizer", trainer.optimizer)):
        if part in TRAINED:
            raise ValueError(
                f"build: returned a {name} that another training has had, expected a new one at "
                "each call"
            )
        TRAINED.add(part)
    return trainer


class Metric:
    """What a trial is judged by.

    Parameters
    ----------
    given : "accuracy", "loss", callable or None
        A callable gets (targets, predictions). None is the accuracy where targets are labels.
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
            score = self.given(y, trainer.predict(X))
            if np.ndim(score) or not isinstance(score, (numbers.Real, np.ndarray, np.generic)):
                raise TypeError(f"metric: {self.name} returned {score!r}, expected a number")
            return float(score)
        name = self.given or ("accuracy" if are_labels(y) else "loss")
        if name == "loss":
            return loss
        if accuracy is None:
            raise ValueError(
                f"metric: {type(trainer.loss).__name__} has no labels to be right about; expected "
                "metric='loss' or a function of (targets, predictions)"
            )
        return accuracy

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


class Curve:
    """The losses and scores of a training, epoch by epoch, and the best of them."""

    def __init__(self, first: float, rules: Rules, maximize: bool):
        self.first, self.rules, self.maximize = first, rules, maximize
        self.losses: list[float | None] = []
        self.val_losses: list[float | None] = []
        self.scores: list[float | None] = []
        self.best_epoch, self.best = 0, -math.inf

    def add(self, val_loss: float, score: float) -> None:
        """What an epoch gave on the data held out."""
        self.val_losses.append(finite(val_loss))
        self.scores.append(finite(score))
        signed = score if self.maximize else -score
        if signed > self.best:
            self.best_epoch, self.best = len(self.scores) - 1, signed

    def rounds_ahead(self) -> int:
        """Epochs that are trained whatever comes of them."""
        if callable(self.rules.metric.given):
            return 1  # it looks at the model after each
        ahead = self.rules.epochs - len(self.scores)
        if self.rules.patience is not None:
            ahead = min(ahead, self.best_epoch + self.rules.patience + 1 - len(self.scores))
        return ahead

    @property
    def is_stale(self) -> bool:
        """Whether the best epoch lies too far back."""
        patience = self.rules.patience
        return patience is not None and len(self.scores) - 1 - self.best_epoch >= patience

    def result(self, stopped: str | None = None, diverged: bool = False) -> FoldResult:
        """What is recorded of the training."""
        epoch = len(self.scores) - 1 if self.rules.patience is None else self.best_epoch
        return FoldResult(
            None if diverged else self.scores[epoch],
            None if diverged else epoch,
            finite(self.first),
            tuple(self.losses),
            tuple(self.val_losses),
            tuple(self.scores),
            stopped,
            diverged,
        )


def train(
    trainer: Trainer,
    data: Data,
    rules: Rules,
    cancelled: Callable[[], bool],
    end_turn: Callable[[], None],
) -> FoldResult:
    """Trains until the last epoch, a divergence or an end of improvement.

    `end_turn` is called when everything is compiled.
    """
    X, y, X_held, y_held = data
    count = len(flatten_structure(X)[0])
    trainer.model.train()
    seed = new_seed()
    order = shuffled(count, seed, 0)
    first = first_loss(trainer, X, y, order[: max(rules.batch_size, FIRST_EXAMPLES)])
    curve = Curve(first, rules, rules.metric.larger_is_better(y))
    if not math.isfinite(first):
        return curve.result("the first loss is not finite", diverged=True)
    training = trainer.step.feed(X, y, rules.batch_size)
    with trainer.model.evaluating():
        measuring = trainer.measuring.feed(X_held, y_held, MEASURED_AT_ONCE)

    def attend() -> None:
        if cancelled():
            raise Cancelled

    # A batch of one has no variance, and batch normalization refuses it.
    used = count - 1 if count > rules.batch_size and count % rules.batch_size == 1 else count
    while len(curve.scores) < rules.epochs:
        attend()
        first_epoch = len(curve.scores)
        epochs = range(first_epoch, first_epoch + curve.rounds_ahead())
        end_turn()
        results, bad_row, exploded = run_rounds(
            training,
            measuring,
            seed,
            first_epoch,
            used,
            stretches(rules, used, epochs),
            EXPLODED * first,
            attend,
        )
        for row in results.tolist():
            reason, diverged = record_epoch(curve, row, trainer, X_held, y_held)
            if reason is not None:
                return curve.result(reason, diverged)
        epoch = len(curve.scores)
        if bad_row is not None:
            curve.losses.append(None)
            rows = shuffled(count, seed, epoch)[:used][bad_row : bad_row + rules.batch_size]
            batch = [rows_of(part, rows) for part in flatten_structure([X, y])]
            layer = first_bad_layer(trainer.step, X, y, batch)
            why = describe(layer)[0]
            return curve.result(f"the loss is not finite in epoch {epoch}: {why}", diverged=True)
        if exploded is not None:
            curve.losses.append(finite(exploded))
            return curve.result(
                f"the loss is {exploded:.4g} in epoch {epoch}, more than {EXPLODED:g} times the "
                f"first, {first:.4g}",
                diverged=True,
            )
    return curve.result()


def record_epoch(
    curve: Curve, row: list[float], trainer: Trainer, X_held: Any, y_held: Any
) -> tuple[str | None, bool]:
    """Adds what `run_rounds` tells of an epoch; why the training ends with it, and if diverged."""
    loss, examples, loss_sum, correct, counted, is_finite = row
    epoch = len(curve.scores)
    curve.losses.append(finite(loss))
    if not is_finite:  # the measurement ended there
        curve.add(math.nan, math.nan)
        return f"the loss of what is held out is not finite in epoch {epoch}", True
    val_loss, accuracy = loss_sum / examples, correct / counted if counted else None
    score = curve.rules.metric.of(trainer, val_loss, accuracy, X_held, y_held)
    curve.add(val_loss, score)
    if not math.isfinite(score):
        return f"the metric is {score} in epoch {epoch}", True
    if curve.is_stale:
        return f"no better for {curve.rules.patience} epochs", False
    return None, False


def first_loss(trainer: Trainer, X: Any, y: Any, rows: NDArray) -> float:
    """The training loss before any update; running averages stay as they were."""
    kept = [(buffer, buffer.copy()) for _, buffer in trainer.model.named_buffers()]
    loss = trainer.step.forward(rows_of(X, rows), rows_of(y, rows))
    for buffer, values in kept:
        buffer[...] = values
    return loss


def stretches(rules: Rules, examples: int, epochs: range) -> NDArray:
    """After how many examples the loss of each epoch is looked at."""
    batches = -(-examples // rules.batch_size)
    least = [LEAST_BATCHES if epoch else LEAST_BATCHES_AT_FIRST for epoch in epochs]
    return np.maximum(least, -(-batches // LOOKS_PER_EPOCH)) * rules.batch_size
