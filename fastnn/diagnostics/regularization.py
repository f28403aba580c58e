"""Whether regularization raises the loss by what its formula says."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.diagnostics.check import Check, Findings, judge, show
from fastnn.diagnostics.figures import draw_bars
from fastnn.diagnostics.sandbox import sample, sandbox, training_without_dropout
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.sgd import SGD
from fastnn.training.step import TrainingStep

EXAMPLES = 1000
DEFAULT_DECAY = 1e-2
# Sums of float32 weights, once by the step and once in float64.
TOLERANCE = 1e-4


def regularization_check(
    model: Module,
    loss: Module,
    X: Any,
    y: Any,
    weight_decay: float | None = None,
    optimizer: Optimizer | None = None,
    examples: int = EXAMPLES,
) -> Check:
    """With regularization the loss goes up, by ``1/2 * lambda * sum(w**2)``.

    Parameters
    ----------
    model, loss : Module
        Nothing of them is changed.
    X, y : array_like
        Training data, preprocessed.
    weight_decay : float, optional
        The lambda to try; by default the optimizer's, or 0.01 where it has none.
    optimizer : Optimizer, optional
        Its groups tell which parameters are regularized; by default all.
    examples : int, default=1000

    Returns
    -------
    Check
        `measured` is the loss with regularization, `expected` what the formula adds to the loss
        without; ``data`` holds "data_loss", "loss", "increase" and "penalty".

    References
    ----------
    CS231n, Stanford 2016, lecture 5: "crank up regularization; loss went up, good".

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> model = nn.Sequential(nn.Linear(2, 2))
    >>> _ = nn.init.ones_(model[0].weight), nn.init.zeros_(model[0].bias)
    >>> X, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    >>> check = fastnn.diagnostics.regularization_check(model, nn.CrossEntropyLoss(), X, y, 10.0)
    >>> round(check.data["data_loss"], 4), round(check.measured, 4)  # 1/2 * 10 * 4 weights of 1
    (0.6931, 20.6931)
    """
    X, y = sample(X, y, examples)
    with sandbox(model, loss, optimizer) as (copy, criterion, stepper):
        training_without_dropout(copy)
        stepper = SGD() if stepper is None else stepper
        step = TrainingStep(copy, criterion, stepper)
        groups = stepper.param_groups
        decays = [decay_of(group, weight_decay) for group in groups]
        regularized = any(decays)
        if not regularized:
            decays = [DEFAULT_DECAY] * len(groups)
        for group in groups:
            group["weight_decay"] = 0.0
        data_loss = float(step.forward(X, y))
        without = step.loss
        for group, decay in zip(groups, decays, strict=True):
            group["weight_decay"] = decay
        step.forward(X, y)
        measured = step.loss
        penalty = sum(
            0.5 * decay * float(np.square(p.storage, dtype=np.float64).sum())
            for group, decay in zip(groups, decays, strict=True)
            for p in group["params"]
        )
    increase = measured - without
    findings = Findings()
    if not np.isfinite(measured):
        findings.fault(f"the loss is {measured}", "look at the first loss, then at this again")
    elif penalty <= 0:
        findings.fault(
            "regularization adds nothing to the loss",
            "the regularized parameters are all zero, or the optimizer's groups are empty",
        )
    elif abs(increase - penalty) > TOLERANCE * max(penalty, abs(measured)):
        findings.fault(
            f"the loss rises by {increase:.4g}, not by {penalty:.4g}",
            "the optimizer's regularization is another one than lambda / 2 * w**2",
        )
    if not regularized:
        findings.note("the optimizer has no weight decay: 0.01 was tried")
    names = " and ".join(sorted({show(decay) for decay in decays}))
    return judge(
        "regularization",
        findings,
        measured,
        f"{data_loss:.4f} + {penalty:.4g} (1/2 lambda sum(w**2), lambda {names})",
        {"data_loss": data_loss, "loss": measured, "increase": increase, "penalty": penalty},
        draw=draw_increase,
        size=(7.0, 1.7),
    )


def decay_of(group: dict[str, Any], weight_decay: float | None) -> float:
    """The lambda of a group."""
    return float(group.get("weight_decay", 0.0) if weight_decay is None else weight_decay)


def draw_increase(check: Check, ax: Any) -> None:
    """The loss with regularization, what it should be, and without."""
    data = check.data
    entries = {
        "with regularization": data["loss"],
        "expected": data["data_loss"] + data["penalty"],
        "without": data["data_loss"],
    }
    draw_bars(ax, entries, check.passed, "loss")
