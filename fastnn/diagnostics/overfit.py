"""Whether the network can learn a handful of examples by heart."""

from __future__ import annotations

import copy as copying
import math
from typing import Any

import numpy as np

from fastnn._checks import whole
from fastnn._compiler.trace import flatten_structure
from fastnn.diagnostics.activations import cut_parameters, layer_of
from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import BAD, GOOD
from fastnn.diagnostics.initial_loss import chance_losses, describe_probabilities
from fastnn.diagnostics.sandbox import sample, sandbox, training_without_dropout
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.sgd import SGD
from fastnn.training.step import TrainingStep

# "About zero": for classes absolute, for other losses as a share of chance.
GOAL = 0.01
# Learning rates that are tried after the optimizer's own.
LADDER = (0.1, 0.01, 1e-3, 1e-4, 1.0)
MOMENTUM = 0.9
STEPS = 1500
# A loss this many times the first, or than 1, does not come back: momentum alone may raise it some.
HOPELESS = 100.0


def overfit_check(
    model: Module,
    loss: Module,
    X: Any,
    y: Any,
    n: int = 20,
    optimizer: Optimizer | None = None,
    steps: int = STEPS,
) -> Check:
    """Trains on a handful of examples until the loss is about zero and the accuracy 1.

    Regularization and dropout are off, and the examples are taken as they are. Whatever a network
    can learn, it can learn twenty examples by heart; if not, something is in the way, and the
    check says what: a layer without a gradient, labels that contradict each other, a softmax too
    many, or the learning rate.

    Parameters
    ----------
    model, loss : Module
        Nothing of them is changed.
    X, y : array_like
        Training data, preprocessed.
    n : int, default=20
        How many examples.
    optimizer : Optimizer, optional
        Its learning rate is tried first, then others from 1e-4 to 1; by default SGD with momentum.
    steps : int, default=1500
        The most steps for one learning rate.

    Returns
    -------
    Check
        `measured` is the last loss; ``data`` holds "loss", "accuracy" (None without labels),
        "curve" (loss by step) and "lr" of the best run.

    References
    ----------
    CS231n, Stanford 2016, lecture 5, "Make sure that you can overfit very small portion of the
    training data".

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> fastnn.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 3))
    >>> X = np.random.default_rng(0).normal(size=(100, 10))
    >>> y = np.arange(100) % 3
    >>> check = fastnn.diagnostics.overfit_check(model, nn.CrossEntropyLoss(), X, y)
    >>> check.passed, check.measured < 0.01, check.data["accuracy"]
    (True, True, 1.0)
    """
    steps = whole("steps", steps, 1)
    X, y = sample(X, y, n, "n")
    runs: list[dict[str, Any]] = []
    own = None if optimizer is None else float(optimizer.param_groups[0]["lr"])
    with sandbox(model, loss, optimizer) as (original, criterion, given):
        training_without_dropout(original)
        scores = original(X)
        chance, _ = chance_losses(criterion, scores, y)
        for lr in dict.fromkeys([*([] if own is None else [own]), *LADDER]):
            copy, stepper = copying.deepcopy((original, given))
            stepper = SGD(lr=lr, momentum=MOMENTUM) if stepper is None else stepper
            for group in stepper.param_groups:
                group["lr"] = lr
                if "weight_decay" in group:
                    group["weight_decay"] = 0.0
            runs.append(memorize(copy, criterion, stepper, X, y, steps, chance))
            runs[-1]["lr"] = lr
            if runs[-1]["reached"] or runs[-1]["cut"]:
                break
    best = min(runs, key=lambda run: (not run["reached"], run["loss"]))
    findings = Findings()
    if not best["reached"]:
        explain(
            findings, best, runs, describe_probabilities(model, loss, scores), contradictions(X, y)
        )
    elif own is not None and best["lr"] != own:
        findings.note(f"not with the optimizer's learning rate {own:g}, but with {best['lr']:g}")
    goal = "" if best["accuracy"] is None else ", accuracy 1"
    return judge(
        f"overfitting {len(flatten_structure(y)[0])} examples",
        findings,
        best["loss"],
        f"loss below {best['goal']:.3g}{goal}",
        {**best, "runs": runs},
        (
            ("learning rate", "steps", "loss", "accuracy", "reached"),
            [
                (
                    *(f"{run['lr']:g}", len(run["curve"]), run["loss"], run["accuracy"]),
                    run["reached"],
                )
                for run in runs
            ],
        ),
        draw_curve,
    )


def memorize(
    model: Module,
    loss: Module,
    optimizer: Optimizer,
    X: Any,
    y: Any,
    steps: int,
    chance: float | None,
) -> dict[str, Any]:
    """Full-batch steps until the goal is reached, or it explodes."""
    step = TrainingStep(model, loss, optimizer)
    curve: list[float] = []
    accuracy, reached, cut = None, False, {}
    goal = GOAL
    for i in range(steps):
        curve.append(float(step.forward(X, y)))
        statistics = step.programs.lowered.program.read_statistics()
        if statistics is not None and statistics[3]:
            accuracy = statistics[2] / statistics[3]
        else:
            goal = GOAL * (chance or curve[0])
        if curve[-1] < goal and accuracy in (None, 1.0):
            reached = True
            break
        if not math.isfinite(curve[-1]) or curve[-1] > HOPELESS * max(curve[0], 1.0):
            break
        step.backward()
        if i == 0:
            cut = cut_parameters(model)
            if cut and len(cut) == len(layers_with_weights(model)):
                break
        step.update()
    last = curve[-1] if math.isfinite(curve[-1]) else math.inf
    return {
        "loss": last,
        "accuracy": accuracy,
        "curve": curve,
        "reached": reached,
        "cut": cut,
        "goal": goal,
    }


def layers_with_weights(model: Module) -> set[str]:
    """Names of the layers that have a parameter of two axes or more."""
    return {
        layer_of(name) for name, parameter in model.named_parameters() if len(parameter.shape) > 1
    }


def contradictions(X: Any, y: Any) -> int:
    """How many examples have the inputs of another with a different target."""
    leaves = [np.asarray(leaf) for leaf in flatten_structure(X)]
    targets = np.asarray(flatten_structure(y)[0])
    seen: dict[bytes, bytes] = {}
    count = 0
    for i in range(len(targets)):
        key = b"".join(leaf[i].tobytes() for leaf in leaves)
        count += seen.setdefault(key, targets[i].tobytes()) != targets[i].tobytes()
    return count


def explain(
    findings: Findings,
    best: dict[str, Any],
    runs: list[dict[str, Any]],
    probabilities: str,
    contradicting: int,
) -> None:
    """What stood in the way."""
    before = len(findings.faults)
    if contradicting:
        findings.fault(
            f"{contradicting} examples have equal inputs but other labels than another",
            "look at how examples and labels were put together",
        )
    for layer, reason in best["cut"].items():
        if reason == "frozen":
            findings.fault(f"layer {layer!r} is frozen", "set requires_grad to True to train it")
        else:
            findings.fault(
                f"the gradient is zero in layer {layer!r}",
                "look at what lies between it and the loss: dead units, zero weights, a cut graph",
            )
    if probabilities:
        findings.fault(probabilities, "give the loss the scores, without softmax or sigmoid")
    if len(findings.faults) > before:
        return
    if all(run["loss"] > run["curve"][0] for run in runs):
        findings.fault(
            "the loss rises at every learning rate from 1e-4 to 1",
            "look at the scale of the inputs and of the initial weights",
        )
        return
    findings.fault(
        f"the loss stays at {best['loss']:.3g} (best learning rate {best['lr']:g})",
        "the network may be too small for these examples, or its units dead or saturated: see "
        "activation_statistics",
    )


def draw_curve(check: Check, ax: Any) -> None:
    """The loss by step, with the goal."""
    colour = GOOD if check.passed else BAD
    for run in check.data["runs"]:
        chosen = run["lr"] == check.data["lr"]
        ax.plot(
            run["curve"],
            color=colour if chosen else "0.8",
            zorder=2 if chosen else 1,
            label=f"learning rate {run['lr']:g}",
        )
    ax.axhline(check.data["goal"], color="0.35", linestyle="--", linewidth=1)
    ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_ylabel("loss")
    ax.legend(fontsize=8)
