"""The gradient check of a whole model with its loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import differentiation
from fastnn._compiler.trace import flatten_structure, rebuild_structure
from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import BAD, GOOD
from fastnn.diagnostics.sandbox import sample, sandbox, training_without_dropout
from fastnn.nn.module import Module

# A few examples show a wrong derivative as well as many, and kinks are fewer.
EXAMPLES = 5
SAMPLES = 16
# Moves inputs off the kinks of max-pooling and ReLU that equal or zero pixels lie on.
JITTER = 1e-3


class WithLoss(Module):
    """A model and its loss as one function of inputs and targets."""

    def __init__(self, model: Module, loss: Module):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x: Any, y: Any) -> Any:
        return self.loss(self.model(x), y)


def gradient_check(
    model: Module, loss: Module, X: Any, y: Any, n: int = EXAMPLES, samples: int | None = SAMPLES
) -> Check:
    """Compares the gradients of all parameters with central differences, in float64.

    ``|compiled - numerical| <= 1e-5 + 1e-3 * |numerical|`` is allowed, where the numerical one is
    ``(f(w + eps) - f(w - eps)) / (2 eps)`` with eps 1e-6, f the loss of a few examples. Dropout is
    off.

    Parameters
    ----------
    model, loss : Module
        Nothing of them is changed.
    X, y : array_like
        Training data, preprocessed.
    n : int, default=5
        How many examples.
    samples : int or None, default=16
        How many elements of each parameter are varied, drawn at random; None for all.

    Returns
    -------
    Check
        A line a parameter: its largest error as a share of what is allowed.

    See Also
    --------
    fastnn.gradient_check : the same for any module and its inputs.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    >>> X = np.random.default_rng(0).normal(size=(10, 4))
    >>> y = np.arange(10) % 3
    >>> check = fastnn.diagnostics.gradient_check(model, nn.CrossEntropyLoss(), X, y)
    >>> check.passed, list(check.data["errors"])
    (True, ['0.weight', '0.bias', '2.weight', '2.bias'])
    """
    X, y = sample(X, y, n, "n")
    rng = np.random.default_rng(0)
    leaves = [np.asarray(leaf) for leaf in flatten_structure(X)]
    X = rebuild_structure(X, [jittered(leaf, rng) for leaf in leaves])
    with sandbox(model, loss) as (copy, criterion, _):
        training_without_dropout(copy)
        found = differentiation.gradient_check(WithLoss(copy, criterion), X, y, samples=samples)
    errors = {
        name.removeprefix("model."): error
        for name, error in found.errors.items()
        if not name.startswith("input")
    }
    findings = Findings()
    for name, error in errors.items():
        if not error <= 1:
            findings.fault(
                f"the gradient of {name} is {error:.2g} times further off than allowed",
                "if the layer is your own, its function is not differentiable here; otherwise "
                "please report it",
            )
    worst = max(errors.values(), default=0.0)
    return judge(
        "gradient check",
        findings,
        f"largest error {worst:.2g} of what is allowed",
        "every error at most 1 of what is allowed (1e-5 + 1e-3 of the gradient)",
        {"errors": errors},
        (
            ("parameter", "error", "verdict"),
            [(name, error, "ok" if error <= 1 else "FAIL") for name, error in errors.items()],
        ),
        draw_errors,
        (8.0, 1.2 + 0.22 * len(errors)),
    )


def jittered(array: Any, rng: np.random.Generator) -> Any:
    """Real inputs with a little noise; whole numbers that may be indices as they are."""
    if array.dtype.kind in "iub":
        return array.astype(np.float64) if array.ndim > 1 else array
    with np.errstate(invalid="ignore", over="ignore"):
        scale = JITTER * (float(array.std(dtype=np.float64)) or 1.0)
    return array.astype(np.float64) + scale * rng.standard_normal(array.shape)


def draw_errors(check: Check, ax: Any) -> None:
    """The error of each parameter on a log scale, with what is allowed."""
    errors = check.data["errors"]
    values = [min(max(error, 1e-12), 1e12) for error in errors.values()]  # NaN counts as infinite
    colours = [GOOD if error <= 1 else BAD for error in errors.values()]
    ax.barh(list(errors), values, color=colours, height=0.55)
    ax.axvline(1, color="0.35", linestyle="--", linewidth=1, label="allowed")
    ax.set_xscale("log")
    ax.invert_yaxis()
    ax.set_xlabel("largest error, as a share of what is allowed")
    ax.legend(fontsize=8)
