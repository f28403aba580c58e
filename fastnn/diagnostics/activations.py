"""Statistics of every layer: activations, gradients, updates, and a verdict for each."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import BAD, GOOD, draw_histograms, histogram, rows_of_histograms
from fastnn.diagnostics.layer_values import LayerValues, look_inside
from fastnn.diagnostics.sandbox import sample, sandbox, training_without_dropout
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.training.step import TrainingStep

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXAMPLES = 256
# More than half of a layer's units without a gradient, on data that it has not been trained on, is
# no chance: a ReLU layer with PyTorch's defaults has less than a tenth.
MOST_DEAD = 0.5
MOST_SATURATED = 0.5
# Ten layers that each lose a factor of two keep 1e-3 of what came in.
LEAST_SIGNAL = 1e-3
MOST_SIGNAL = 1e3
# The same for gradients, from the last layer to the first.
LEAST_GRADIENT = 1e-4
MOST_GRADIENT = 1e4
# The course calls 1e-3 well; an update of a tenth of the weights forgets what was learned.
MOST_UPDATE = 0.1
ADVICE = {
    "not finite": "look for NaN in the inputs and for weights that are far too large",
    "dead": "lower the learning rate, start from zero biases and He's weights, or use leaky ReLU",
    "saturated": "start from smaller weights (Xavier), or put a BatchNorm before the activation",
    "alike": "start from random weights: units that are equal stay equal",
    "no gradient": "look for what cuts the gradient between this layer and the loss",
    "frozen": "its parameters have requires_grad=False; leave it so only if that is meant",
    "vanishing": "start from larger weights (He for ReLU, Xavier for tanh), or use BatchNorm",
    "exploding": "start from smaller weights (He for ReLU, Xavier for tanh), or use BatchNorm",
    "large updates": "lower the learning rate",
}
MEANING = {
    "dead": "of units dead",
    "saturated": "saturated",
}


def activation_statistics(
    model: Module,
    loss: Module,
    X: Any,
    y: Any,
    optimizer: Optimizer | None = None,
    examples: int = EXAMPLES,
) -> Check:
    """Looks at what every layer computes for a batch, forward and backward, and judges it.

    Parameters
    ----------
    model, loss : Module
        Nothing of them is changed.
    X, y : array_like
        Training data, preprocessed.
    optimizer : Optimizer, optional
        With it the ratio of the first update to the weights is measured too; about 1e-3 is well.
    examples : int, default=256
        Size of the batch.

    Returns
    -------
    Check
        A line a layer: mean and standard deviation of the outputs, share saturated (sigmoid and
        tanh: derivative below 5 % of its maximum), share of units dead (ReLU: zero for every
        example of the batch; for images a unit is a channel), standard deviation of the gradient
        of the loss by the layer's sums (times the batch, so that it does not depend on it), ratio
        of update to weight, verdict. ``data["layers"]`` holds the same with histograms,
        ``data["first"]`` is the first layer with a fault, or "". The picture is the course's row
        of histograms.

    References
    ----------
    CS231n, Stanford 2016, lectures 5 and 6; Glorot and Bengio, Understanding the difficulty of
    training deep feedforward neural networks, 2010.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> fastnn.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))
    >>> X = np.random.default_rng(0).normal(size=(100, 20))
    >>> y = np.arange(100) % 3
    >>> fastnn.diagnostics.activation_statistics(model, nn.CrossEntropyLoss(), X, y).passed
    True
    >>> _ = nn.init.constant_(model[0].bias, -10.0)
    >>> check = fastnn.diagnostics.activation_statistics(model, nn.CrossEntropyLoss(), X, y)
    >>> check.data["first"], check.data["layers"][0]["dead"]
    ('0', 1.0)
    """
    X, y = sample(X, y, examples)
    with sandbox(model, loss, optimizer) as (copy, criterion, stepper):
        training_without_dropout(copy)
        value, layers = look_inside(copy, criterion, X, y)
        rows = [statistics(layer) for layer in layers]
        cut = cut_parameters(copy)
        alike = layers_of_equal_units(copy)
        updates = first_updates(copy, criterion, stepper, X, y)
    for row in rows:
        row["update"] = updates.get(row["name"])
        row["verdict"] = verdict(row, rows, cut, alike)
    findings = Findings()
    named = []
    for row in causes(rows):
        findings.fault(describe(row), ADVICE[row["verdict"]])
        named.append(row["name"])
    for name in (name for name in cut if name not in {row["name"] for row in rows}):
        findings.fault(f"layer {name!r} has parameters without a gradient", ADVICE["no gradient"])
        named.append(name)
    healthy = sum(row["verdict"] == "healthy" for row in rows)
    first = named[0] if named else ""
    return judge(
        "activations and gradients",
        findings,
        f"{healthy} of {len(rows)} layers healthy"
        + (f", first fault in {first!r}" if first else ""),
        "signal and gradient of steady size, few units dead or saturated",
        {"layers": rows, "loss": value, "first": first},
        (
            ("layer", "kind", "mean", "std", "saturated", "dead", "gradient", "update", "verdict"),
            [
                (
                    *(row["name"], row["kind"], row["mean"], row["std"], row["saturated"]),
                    *(row["dead"], row["gradient_std"], row["update"], row["verdict"]),
                )
                for row in rows
            ],
        ),
        draw_layers,
        (10.0, 2.0 * rows_of_histograms(len(rows))),
    )


def statistics(layer: LayerValues) -> dict[str, Any]:
    """The figures of one layer."""
    outputs = layer.outputs.astype(np.float64)
    finite = bool(np.isfinite(outputs).all())
    gradient = None
    with np.errstate(invalid="ignore", over="ignore"):  # the verdict tells of what is not finite
        mean, std = float(outputs.mean()), float(outputs.std())
        if layer.gradient is not None:
            gradient = float(layer.gradient.astype(np.float64).std() * len(outputs))
    return {
        "name": layer.name,
        "kind": layer.kind,
        "mean": mean,
        "std": std,
        "finite": finite,
        "saturated": layer.saturated,
        "dead": layer.dead,
        "gradient_std": gradient,
        "histogram": histogram(outputs, 30) if finite else (np.zeros(1), np.arange(2.0)),
    }


def verdict(
    row: dict[str, Any], rows: list[dict[str, Any]], cut: dict[str, str], alike: set[str]
) -> str:
    """What is the matter with a layer; the cause before its consequences."""
    first, last = rows[0], rows[-1]
    if not row["finite"]:
        return "not finite"
    if row["name"] in alike and row is not last:
        return "alike"
    if row["dead"] is not None and row["dead"] > MOST_DEAD:
        return "dead"
    if row["saturated"] is not None and row["saturated"] > MOST_SATURATED:
        return "saturated"
    if row["name"] in cut:
        return cut[row["name"]]
    if row["std"] < LEAST_SIGNAL * first["std"]:
        # A last layer that starts near zero is good practice: all scores equal.
        return "healthy" if row is last else "vanishing"
    if row["std"] > MOST_SIGNAL * first["std"]:
        return "exploding"
    reference = last["gradient_std"]
    if reference and row["gradient_std"] is not None:
        if row["gradient_std"] < LEAST_GRADIENT * reference:
            return "vanishing"
        if row["gradient_std"] > MOST_GRADIENT * reference:
            return "exploding"
    if row["update"] is not None and row["update"] > MOST_UPDATE:
        return "large updates"
    return "healthy"


def causes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers that are to blame, not those that suffer from them.

    Where units are dead or alike no gradient passes; where the graph is cut, the last layer without
    a gradient lies next to the cut.
    """
    faulty = [row for row in rows if row["verdict"] != "healthy"]
    blocking = any(
        row["dead"] == 1.0 or row["verdict"] in ("not finite", "alike") for row in faulty
    )
    followers = {row["name"]: following["verdict"] for row, following in itertools.pairwise(rows)}
    return [
        row
        for row in faulty
        if row["verdict"] != "no gradient"
        or not (blocking or followers.get(row["name"]) == "no gradient")
    ]


def describe(row: dict[str, Any]) -> str:
    """A layer's fault with its figure: "layer '3' (Linear + ReLU): 82 % of units dead"."""
    where = f"layer {row['name']!r} ({row['kind']}): "
    kind = row["verdict"]
    if kind in MEANING:
        return f"{where}{100 * row[kind]:.0f} % {MEANING[kind]}"
    if kind == "alike":
        return f"{where}all units have the same weights (zero or constant initialization)"
    if kind == "large updates":
        return f"{where}an update is {row['update']:.2g} of the weights"
    if kind == "vanishing":
        return (
            f"{where}vanishing (outputs {row['std']:.1e}, gradients {row['gradient_std'] or 0:.1e})"
        )
    return where + kind


def layer_of(parameter: str) -> str:
    """The layer that a parameter's dotted name belongs to."""
    return parameter.rpartition(".")[0]


def cut_parameters(model: Module) -> dict[str, str]:
    """Layers with a weight that gets no gradient, or only zeros, after a backward pass."""
    cut = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            cut[layer_of(name)] = "frozen"
        elif parameter.grad is None or not np.any(parameter.grad):
            # A bias before a BatchNorm rightly has no gradient: weights tell.
            if len(parameter.shape) > 1:
                cut[layer_of(name)] = "no gradient"
    return cut


def layers_of_equal_units(model: Module) -> set[str]:
    """Layers in which every unit has the same incoming weights."""
    return {
        layer_of(name)
        for name, parameter in model.named_parameters()
        if len(parameter.shape) > 1
        and parameter.shape[0] > 1
        and bool((parameter.data == parameter.data[:1]).all())
    }


def first_updates(
    model: Module, loss: Module, optimizer: Optimizer | None, X: Any, y: Any
) -> dict[str, float]:
    """Norm of the first update over the norm of the weights, by layer."""
    if optimizer is None:
        return {}
    before = weights(model)
    TrainingStep(model, loss, optimizer)(X, y)
    after = weights(model)
    return {
        layer_of(name): float(np.linalg.norm(after[name] - old) / np.linalg.norm(old))
        for name, old in before.items()
        if np.any(old)
    }


def weights(model: Module) -> dict[str, NDArray]:
    """Copies of the parameters of two axes or more: those whose size an update is measured by."""
    return {
        name: np.array(parameter.data, np.float64)
        for name, parameter in model.named_parameters()
        if len(parameter.shape) > 1
    }


def draw_layers(check: Check, ax: Any) -> None:
    """A histogram of the outputs for each layer, red where it is not healthy."""
    layers = check.data["layers"]
    draw_histograms(
        ax,
        [f"{row['name']}  {row['kind']}\nstd {row['std']:.3g}, {row['verdict']}" for row in layers],
        [row["histogram"] for row in layers],
        [GOOD if row["verdict"] == "healthy" else BAD for row in layers],
    )
