"""A short training under watch: does the loss fall, does what is learned carry over?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._checks import whole
from fastnn._compiler.trace import flatten_structure
from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.initial_loss import chance_losses
from fastnn.diagnostics.monitor import Monitor
from fastnn.diagnostics.sandbox import count_examples, require_batches, sample, sandbox, take
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.training.callbacks import Callback
from fastnn.training.data import convert
from fastnn.training.divergence import TrainingDiverged, describe
from fastnn.training.trainer import Trainer

STEPS = 300
LOOKS = 12
HELD_OUT_SHARE, MOST_HELD_OUT = 0.2, 2000
# An accuracy counts as better than chance from so many standard deviations of a coin's.
DEVIATIONS = 4.0
# A loss without labels has to be below that of the best constant by a tenth.
LEAST_GAIN = 0.9
NEIGHBOURS = 500


class StopAfter(Callback):
    """Ends a training after some steps."""

    def __init__(self, steps: int):
        self.steps = steps

    def next_step(self, done: int) -> int:
        return max(self.steps, done + 1)

    def on_step_end(self, trainer: Trainer, epoch: int, batch: int, loss: float) -> None:
        trainer.stop = f"{self.steps} steps"


def training_check(
    model: Module,
    loss: Module,
    X: Any,
    y: Any,
    optimizer: Optimizer,
    validation_data: tuple[Any, Any] | None = None,
    batch_size: int = 64,
    steps: int = STEPS,
) -> Check:
    """Trains a copy for some hundred steps with a `Monitor`, and evaluates it on held-out data.

    Faults are: a training that diverges; a loss that does not fall; a loss that falls while nothing
    carries over to held-out examples (labels that do not belong to their inputs); whatever the
    monitor warns of.

    Parameters
    ----------
    model, loss : Module
    X, y : array_like
    optimizer : Optimizer
        Nothing of these is changed.
    validation_data : (X, y), optional
        By default a fifth of the examples is held out.
    batch_size : int, default=64
    steps : int, default=300

    Returns
    -------
    Check
        ``data`` holds "monitor", "before", "train" and "held_out" (loss, and accuracy where there
        are labels), "baseline" (what chance gives) and "model", the trained copy.

    Raises
    ------
    ValueError
        If there are too few examples for the batches that a layer needs in training.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import diagnostics, nn, optim
    >>> fastnn.manual_seed(0)
    >>> X, y = fastnn.datasets.digits()
    >>> X = fastnn.preprocessing.Standardize().fit_transform(X)
    >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> check = diagnostics.training_check(model, nn.CrossEntropyLoss(), X, y, optim.SGD(lr=0.1))
    >>> check.passed, check.data["held_out"]["accuracy"] > 0.9
    (True, True)
    """
    batch_size, steps = whole("batch_size", batch_size, 1), whole("steps", steps, 1)
    held_out_count = 0 if validation_data is not None else count_held_out(X)
    require_batches(model, loss, X, y, batch_size, held_out_count)
    X, y = convert(X, model.dtype), convert(y, None)
    if validation_data is None:
        X, y, held_X, held_y = hold_out(X, y)
    else:
        held_X, held_y = (convert(part, None) for part in validation_data)
        held_X, held_y = sample(held_X, held_y, MOST_HELD_OUT)
    # Whole batches: a last one of a single example would be an error of batch normalization.
    batch_size = min(batch_size, count_examples(X))
    examples = count_examples(X) // batch_size * batch_size
    X, y = take(X, slice(examples)), take(y, slice(examples))
    epochs = math.ceil(steps * batch_size / examples)
    monitor = Monitor(every=max(2, steps // LOOKS), warn=False)
    findings = Findings()
    with sandbox(model, loss, optimizer) as (copy, criterion, stepper):
        trainer = Trainer(copy, criterion, stepper)
        before = trainer.evaluate(*sample(X, y, MOST_HELD_OUT))
        try:
            callbacks = [monitor, StopAfter(steps)]
            trainer.fit(X, y, epochs, batch_size, callbacks=callbacks, seed=0, progress=False)
        except TrainingDiverged as error:
            reason, advice = describe(error.layer)
            findings.fault(
                f"the training diverges at step {trainer.steps_done + 1} with learning rate "
                f"{error.learning_rate:g}: {reason}",
                advice,
            )
        train = trainer.evaluate(*sample(X, y, MOST_HELD_OUT))
        held_out = trainer.evaluate(held_X, held_y)
        chance, shares = chance_losses(criterion, trainer.predict_scores(held_X), held_y)
    for warning in monitor.warnings:
        findings.fault(*warning.split("; ", 1))
    baseline = shares if shares is not None else chance
    if findings.passed:
        judge_learning(findings, X, y, held_y, before, train, held_out, baseline)
    return judge(
        "short training",
        findings,
        f"{trainer.steps_done} steps: training {words(train)}; held out {words(held_out)}",
        "a falling loss, held-out results better than chance",
        {
            "monitor": monitor,
            "before": before,
            "train": train,
            "held_out": held_out,
            "baseline": baseline,
            "model": copy,
        },
        draw=draw_training,
        size=(13.0, 3.0),
    )


def hold_out(X: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    """A part of the examples set aside, at random."""
    examples = count_examples(X)
    order = np.random.default_rng(0).permutation(examples)
    count = count_held_out(X)
    held, kept = order[: max(count, 1)], order[count:]
    return take(X, kept), take(y, kept), take(X, held), take(y, held)


def count_held_out(X: Any) -> int:
    """How many examples `hold_out` takes away from the training: none from a single one."""
    examples = count_examples(X)
    return min(examples - 1, MOST_HELD_OUT, max(1, int(HELD_OUT_SHARE * examples)))


def judge_learning(
    findings: Findings,
    X: Any,
    y: Any,
    held_y: Any,
    before: dict[str, float],
    train: dict[str, float],
    held_out: dict[str, float],
    baseline: float | None,
) -> None:
    """Whether anything was learned, and whether it carries over."""
    if "accuracy" in held_out:
        labels = np.asarray(held_y)
        most = float(np.bincount(labels[labels >= 0]).max() / len(labels))
        spread = math.sqrt(most * (1 - most) / len(labels))
        learned = held_out["accuracy"] > most + DEVIATIONS * spread
        nothing = f"held-out accuracy is {held_out['accuracy']:.3f}, chance {most:.3f}"
    elif baseline is not None:
        learned = held_out["loss"] < LEAST_GAIN * baseline
        nothing = f"held-out loss is {held_out['loss']:.3g}, that of a constant {baseline:.3g}"
    else:
        learned, nothing = True, ""
    if learned:
        return
    neighbours = neighbours_agree(X, y)
    if neighbours is False:
        findings.fault(
            f"nothing carries over to held-out examples ({nothing}), and neighbours in the inputs "
            "do not share labels either",
            "labels look shuffled against their inputs: look at how they were put together",
        )
    elif not train["loss"] < before["loss"]:
        findings.fault(
            f"the loss does not fall (from {before['loss']:.3g} to {train['loss']:.3g})",
            "try other learning rates, then a larger network",
        )
    else:
        findings.fault(
            f"nothing carries over to held-out examples ({nothing})",
            "look whether labels belong to their inputs, and whether held-out data are prepared "
            "like the training's; then regularize, or train longer",
        )


def neighbours_agree(X: Any, y: Any) -> bool | None:
    """Whether the nearest neighbour tells more of a label than chance; None where there is none."""
    leaves, targets = flatten_structure(X), np.asarray(flatten_structure(y)[0])
    if len(leaves) != 1 or targets.ndim != 1 or targets.dtype.kind not in "iu":
        return None
    inputs, labels = sample(leaves[0], targets, NEIGHBOURS)
    points = inputs.reshape(len(inputs), -1).astype(np.float64)
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    agreement = float((labels[distances.argmin(axis=1)] == labels).mean())
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    chance = float((shares**2).sum())
    return agreement > chance + DEVIATIONS * math.sqrt(chance * (1 - chance) / len(labels))


def words(row: dict[str, float]) -> str:
    """Loss and accuracy in words."""
    accuracy = f", accuracy {row['accuracy']:.3f}" if "accuracy" in row else ""
    return f"loss {row['loss']:.3g}{accuracy}"


def draw_training(check: Check, ax: Any) -> None:
    """What the monitor saw, on the place of `ax`."""
    ax.set_axis_off()
    places = [ax.inset_axes([0.26 * i, 0.08, 0.21, 0.8]) for i in range(4)]
    for place in places:
        place.tick_params(labelsize=7)
    check.data["monitor"].plot(places)
