"""The first loss, against what chance predicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import draw_bars
from fastnn.diagnostics.sandbox import sample, sandbox, training_without_dropout
from fastnn.nn.activation import Sigmoid, Softmax
from fastnn.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, MultiMarginLoss
from fastnn.nn.module import Module
from fastnn.training.step import TrainingStep

# Scores of standard deviation 1, as He's initialization gives them in the last layer, add about a
# half to the cross-entropy: a first loss up to this factor above chance is no fault.
ALLOWED_FACTOR = 1.5
# Before any training a loss below chance means that the model has seen the labels.
ALLOWED_BELOW = 0.8
# Rows of probabilities add up to one within rounding.
ROUNDING = 1e-3
EXAMPLES = 1000


def initial_loss_check(
    model: Module, loss: Module, X: Any, y: Any, examples: int = EXAMPLES
) -> Check:
    """Compares the first loss, without regularization, with what chance predicts.

    A network that knows nothing yet gives every class the same score: its loss is that of all
    scores zero, for cross-entropy ``log(classes)`` (whatever the class weights), for the hinge
    ``(classes - 1) / classes * margin**p``, for squared error the mean of ``y**2``. A network that
    knows the shares of the classes alone has, for cross-entropy, their entropy. The first loss
    should lie near these two.

    Parameters
    ----------
    model, loss : Module
        Nothing of them is changed.
    X, y : array_like
        Training data, preprocessed.
    examples : int, default=1000
        How many are looked at.

    Returns
    -------
    Check
        `measured` is the first loss, ``data["chance"]`` and ``data["shares"]`` what is expected.

    References
    ----------
    CS231n, Stanford 2016, lecture 5, "Double check that the loss is reasonable".

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> fastnn.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(20, 10))
    >>> _ = nn.init.normal_(model[0].weight, std=1e-4), nn.init.zeros_(model[0].bias)
    >>> X = np.random.default_rng(0).normal(size=(50, 20))
    >>> check = fastnn.diagnostics.initial_loss_check(
    ...     model, nn.CrossEntropyLoss(), X, np.arange(50) % 10)
    >>> check.passed, round(check.measured, 3)
    (True, 2.303)
    """
    X, y = sample(X, y, examples)
    with sandbox(model, loss) as (copy, criterion, _):
        training_without_dropout(copy)
        measured = float(TrainingStep(copy, criterion).forward(X, y))
        scores = copy(X)
        chance, shares = chance_losses(criterion, scores, y)
    findings = Findings()
    if not math.isfinite(measured):
        findings.fault(
            f"the first loss is {measured}",
            "look for NaN in the data, and for weights that are far too large",
        )
    probabilities = describe_probabilities(model, loss, scores)
    if probabilities:
        findings.fault(probabilities, "give the loss the scores, without softmax or sigmoid")
    bounds = [value for value in (chance, shares) if value is not None]
    if bounds and math.isfinite(measured):
        if measured > ALLOWED_FACTOR * max(bounds):
            above = f"{measured / max(bounds):.3g} times that of" if max(bounds) > 0 else "above"
            findings.fault(
                f"the first loss is {above} chance",
                "make the last layer's initial weights smaller, or bring the inputs to a "
                "standard deviation of 1",
            )
        elif measured < ALLOWED_BELOW * min(bounds):
            findings.fault(
                "the first loss is below that of chance",
                "the model is trained already, or the inputs hold the answer",
            )
    return judge(
        "first loss",
        findings,
        measured,
        describe_expectation(loss, scores, chance, shares),
        {
            "loss": measured,
            "chance": chance,
            "shares": shares,
            "probabilities": bool(probabilities),
        },
        draw=draw_first_loss,
        size=(7.0, 1.7),
    )


def chance_losses(loss: Module, scores: Any, y: Any) -> tuple[float | None, float | None]:
    """The loss of scores that are all zero, and of those that know the shares of the labels."""
    if not isinstance(scores, np.ndarray):
        return None, None
    zeros = np.zeros(scores.shape, np.float64)
    targets = np.asarray(y)
    chance = float(np.asarray(loss(zeros, y)))
    if isinstance(loss, CrossEntropyLoss):
        valid = targets[targets != loss.ignore_index]
        frequency = np.bincount(valid, minlength=scores.shape[1]).astype(np.float64)
        if loss.weight is not None:
            frequency *= loss.weight
        best = np.log(np.maximum(frequency, 1e-12) / max(frequency.sum(), 1e-12))
    elif isinstance(loss, MSELoss):
        best = targets.mean(axis=0, dtype=np.float64)
    elif isinstance(loss, BCEWithLogitsLoss):
        share = np.clip(targets.mean(axis=0, dtype=np.float64), 1e-6, 1 - 1e-6)
        best = np.log(share / (1 - share))
    else:
        return chance, None
    return chance, float(np.asarray(loss(zeros + best, y)))


def describe_probabilities(model: Module, loss: Module, scores: Any) -> str:
    """What is wrong if the model gives probabilities where the loss expects scores."""
    if not isinstance(scores, np.ndarray) or scores.size == 0:
        return ""
    between = bool(((scores >= 0) & (scores <= 1)).all())
    if isinstance(loss, CrossEntropyLoss) and scores.ndim == 2 and scores.shape[1] > 1:
        if between and np.abs(scores.sum(axis=1) - 1).max() < ROUNDING:
            return f"softmax is applied twice: {last_of(model, Softmax)}, and the loss has one too"
    if isinstance(loss, BCEWithLogitsLoss) and between:
        return f"sigmoid is applied twice: {last_of(model, Sigmoid)}, and the loss has one too"
    return ""


def last_of(model: Module, kind: type[Module]) -> str:
    """Where the probabilities come from, in words."""
    names = [name for name, module in model.named_modules() if type(module) is kind]
    return f"layer {names[-1]!r} is one" if names else "the model gives probabilities"


def describe_expectation(
    loss: Module, scores: Any, chance: float | None, shares: float | None
) -> str:
    """The expected loss in words."""
    if chance is None:
        return "unknown for several outputs"
    if isinstance(loss, CrossEntropyLoss) and loss.reduction == "mean":
        text = f"about log({scores.shape[1]}) = {chance:.4f}"
    elif isinstance(loss, MultiMarginLoss):
        text = f"about {chance:.4g}, the hinge loss of equal scores"
    elif isinstance(loss, MSELoss):
        text = f"about {chance:.4g}, the mean of y**2"
    else:
        text = f"about {chance:.4g}, the loss of scores that are all zero"
    if shares is not None and abs(shares - chance) > 0.01 * abs(chance):
        text += f"; {shares:.4g} for the shares of the labels alone"
    return text


def draw_first_loss(check: Check, ax: Any) -> None:
    """Bars: what was measured beside what was expected."""
    entries = {"first loss": check.data["loss"], "chance": check.data["chance"]}
    if check.data["shares"] is not None:
        entries["shares of labels"] = check.data["shares"]
    draw_bars(ax, entries, check.passed, "loss")
