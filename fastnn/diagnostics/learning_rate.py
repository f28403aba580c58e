"""Which learning rates change the loss, and which make it explode."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import whole
from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import BAD, GOOD
from fastnn.diagnostics.sandbox import (
    count_examples,
    require_batches,
    sandbox,
    take,
    training_without_dropout,
)
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.sgd import SGD
from fastnn.training.divergence import EXPLODED, Snapshot
from fastnn.training.step import TrainingStep

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST, HIGHEST = 1e-7, 1e3
POINTS_PER_DECADE = 2
# The course's case: at 1e-6 the loss went from 2.3026 to 2.3020 or so in an epoch.
LEAST_CHANGE = 0.01
# A sigmoid network's loss may rise in its first steps; by a half is too much.
RISE = 1.5
# A training is longer than this experiment: its momentum builds up, its curvature grows. An order
# of magnitude below the best of a few batches is usual.
MARGIN = 10.0
# So many times more batches are tried where the loss falls at no rate.
PATIENCE = 10
# A network that starts slowly barely changes in a few batches at a rate that will do in the end.
SLOW = 10.0

BARELY, CHANGES, EXPLODES = "barely changing", "changes", "explodes"


def learning_rate_range(
    model: Module,
    loss: Module,
    X: Any,
    y: Any,
    optimizer: Optimizer | None = None,
    batch_size: int = 64,
    batches: int = 10,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
) -> Check:
    """Trains a few batches at learning rates from too small to exploding, from the same start.

    Parameters
    ----------
    model, loss : Module
        Nothing of them is changed.
    X, y : array_like
        Training data, preprocessed.
    optimizer : Optimizer, optional
        What to train with; its own learning rate is tried too and judged. By default SGD with
        momentum 0.9.
    batch_size : int, default=64
    batches : int, default=10
        How many steps at each learning rate; the loss is that of their examples, before and after.
        Ten times as many where the loss falls at none.
    lowest : float, default=1e-7
    highest : float, default=1e3
        Two learning rates a decade are tried between them.

    Returns
    -------
    Check
        ``data`` holds "rates", "losses" (after), "first" (before), "verdicts" ("barely changing":
        by less than 1 %; "explodes": NaN, infinite, or three times the first loss; "changes");
        "smallest" that changes the loss, "largest" that does not explode, and "suggestion": a
        tenth of the rate with the lowest loss.

    Raises
    ------
    ValueError
        Unless ``0 < lowest < highest``, if a number is out of range, or if batches are too small
        for a layer in training.

    References
    ----------
    CS231n, Stanford 2016, lecture 5, "Let's try to train now"; Smith, Cyclical learning rates for
    training neural networks, 2017.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn, optim
    >>> fastnn.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 3))
    >>> X = np.random.default_rng(0).normal(size=(200, 10))
    >>> y = X[:, :3].argmax(axis=1)
    >>> check = fastnn.diagnostics.learning_rate_range(
    ...     model, nn.CrossEntropyLoss(), X, y, optim.SGD(lr=1e-6))
    >>> print(check.advice)
    the optimizer's learning rate 1e-06 is too low, the loss is barely changing: try 0.3
    """
    if not 0 < lowest < highest:
        raise ValueError(
            f"got lowest={lowest} and highest={highest}, expected 0 < lowest < highest"
        )
    batches = whole("batches", batches, 1)
    batch_size = whole("batch_size", batch_size, 1)
    require_batches(model, loss, X, y, batch_size)
    batch_size = min(batch_size, count_examples(X))
    points = round(POINTS_PER_DECADE * math.log10(highest / lowest)) + 1
    rates = set(float(f"{rate:.1g}") for rate in np.geomspace(lowest, highest, points))
    own = None if optimizer is None else float(optimizer.param_groups[0]["lr"])
    if own:
        rates.add(own)
    with sandbox(model, loss, optimizer) as (copy, criterion, stepper):
        training_without_dropout(copy)
        stepper = SGD(momentum=0.9) if stepper is None else stepper
        step = TrainingStep(copy, criterion, stepper)
        first, losses = losses_by_rate(step, X, y, batch_size, batches, sorted(rates))
        if not any(value < (1 - LEAST_CHANGE) * first for value in losses.values()):
            # Tiny weights begin on a plateau, and need longer to leave it.
            batches *= PATIENCE
            first, losses = losses_by_rate(step, X, y, batch_size, batches, sorted(rates))
    return judge_rates(losses, first, own)


def losses_by_rate(
    step: TrainingStep, X: Any, y: Any, batch_size: int, batches: int, rates: list[float]
) -> tuple[float, dict[float, float]]:
    """The loss of some batches, and after training with them at each rate; all from one start."""
    rows = batch_rows(count_examples(X), batch_size, batches)
    data = [(take(X, some), take(y, some)) for some in rows]
    step.forward(*data[0])  # makes buffers and program
    start = Snapshot(step)
    first = float(np.mean([step.forward(x, target) for x, target in data]))
    losses = {}
    for rate in rates:
        start.restore()
        losses[rate] = loss_after(step, data, rate)
    start.restore()
    return first, losses


def batch_rows(examples: int, batch_size: int, batches: int) -> list[NDArray]:
    """Rows of some batches, without one twice while there are enough."""
    rng = np.random.default_rng(0)
    order = np.concatenate(
        [rng.permutation(examples) for _ in range(-(-batches * batch_size // examples))]
    )
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(batches)]


def loss_after(step: TrainingStep, data: list[tuple[Any, Any]], rate: float) -> float:
    """The mean loss of some batches after a step with each; infinite if it explodes on the way."""
    assert step.optimizer is not None
    for group in step.optimizer.param_groups:
        group["lr"] = rate
    with np.errstate(over="ignore", invalid="ignore"):
        for x, target in data:
            if not math.isfinite(step(x, target)):
                return math.inf
        value = float(np.mean([step.forward(x, target) for x, target in data]))
    return value if math.isfinite(value) else math.inf


def judge_rates(losses: dict[float, float], first: float, own: float | None) -> Check:
    """The range, and where the optimizer's own learning rate lies in it."""
    verdicts = {}
    for rate, value in losses.items():
        if value > EXPLODED * first or not math.isfinite(value):
            verdicts[rate] = EXPLODES
        elif abs(value - first) < LEAST_CHANGE * first:
            verdicts[rate] = BARELY
        else:
            verdicts[rate] = CHANGES
    # Rates above the first that explodes may by chance end low; they are no better for it.
    exploding = [rate for rate in losses if verdicts[rate] == EXPLODES]
    stable = [rate for rate in losses if not exploding or rate < exploding[0]]
    falling = [rate for rate in stable if losses[rate] < (1 - LEAST_CHANGE) * first]
    smallest = falling[0] if falling else None
    largest = stable[-1] if stable else None
    suggestion = None
    if smallest is not None:
        best = min(falling, key=lambda rate: losses[rate])
        suggestion = max(best / MARGIN, smallest)
        suggestion = float(f"{suggestion:.1g}")
    findings = Findings()
    if smallest is None or largest is None:
        findings.fault(
            f"no learning rate from {min(losses):g} to {max(losses):g} makes the loss fall",
            "look at the activations and gradients, and whether the examples can be overfitted",
        )
    elif own is not None:
        if own in exploding or own > largest:
            fault = "too high, the loss explodes"
        elif losses.get(own, 0.0) > RISE * first:
            fault = "too high, the loss rises"
        elif SLOW * own < smallest:
            fault = "too low, the loss is barely changing"
        else:
            fault = ""
        if fault:
            what = f"the optimizer's learning rate {own:g} is {fault}"
            findings.fault(what, f"try {suggestion:g}")
        elif own < smallest:
            findings.note(f"the loss is barely changing in a few batches at {own:g}")
    return judge(
        "learning rate",
        findings,
        f"the loss falls from {show(smallest)}, does not explode up to {show(largest)}"
        + ("" if own is None else f"; {own:g}: {verdicts[own] if own in verdicts else BARELY}"),
        "a range of learning rates in which the loss falls, the optimizer's inside it"
        if suggestion is None
        else f"inside this range; suggestion {suggestion:g}",
        {
            "rates": list(losses),
            "losses": list(losses.values()),
            "verdicts": list(verdicts.values()),
            "first": first,
            "smallest": smallest,
            "largest": largest,
            "suggestion": suggestion,
            "own": own,
        },
        (
            ("learning rate", "loss", ""),
            [(f"{rate:g}", losses[rate], verdicts[rate]) for rate in losses],
        ),
        draw_range,
    )


def show(rate: float | None) -> str:
    """A learning rate in words."""
    return "none" if rate is None else f"{rate:g}"


def draw_range(check: Check, ax: Any) -> None:
    """The loss after a few batches by learning rate, with the range in green."""
    data = check.data
    top = EXPLODED * data["first"]
    losses = [min(value, top) for value in data["losses"]]
    colours = {BARELY: "0.6", CHANGES: "tab:blue", EXPLODES: BAD}
    ax.plot(data["rates"], losses, color="0.8", zorder=1)
    for name, colour in colours.items():
        chosen = [i for i, verdict in enumerate(data["verdicts"]) if verdict == name]
        ax.scatter(
            [data["rates"][i] for i in chosen],
            [losses[i] for i in chosen],
            *(22, colour),
            label=name,
            zorder=2,
        )
    ax.axhline(data["first"], color="0.35", linestyle="--", linewidth=1, label="first loss")
    if data["smallest"] is not None:
        ax.axvspan(data["smallest"], data["largest"], color=GOOD, alpha=0.12)
        ax.axvline(data["suggestion"], color=GOOD, label=f"suggestion {data['suggestion']:g}")
    if data["own"]:
        colour = "black" if check.passed else BAD
        ax.axvline(data["own"], color=colour, linestyle=":", label=f"yours {data['own']:g}")
    ax.set_xscale("log")
    if 0 < top < math.inf:
        ax.set_ylim(0, 1.06 * top)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss after a few batches")
    ax.legend(fontsize=8, loc="upper left")
