"""Whether batch normalization gets what it needs, and does in inference what it learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._compiler.trace import flatten_structure
from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import BAD, GOOD, colours_of_layers, legend_of_layers
from fastnn.diagnostics.sandbox import sample, sandbox, training_without_dropout
from fastnn.nn.execution import as_array
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d
from fastnn.training.step import TrainingStep

EXAMPLES = 1024
# A variance of n values is uncertain by sqrt(2 / (n - 1)): by a half for 8.
LEAST_VALUES = 8
# Running averages of a trained network, in standard deviations of the batch: the mean moves with
# the weights, by a few tenths at most.
MOST_SHIFT = 1.0
MOST_RATIO = 4.0
# By so much, as a factor, the loss may be worse in inference than in training on the same examples.
MOST_LOSS_RATIO = 2.0
LOSS_FLOOR = 0.1


def batchnorm_check(
    model: Module, loss: Module, X: Any, y: Any, batch_size: int = 64, examples: int = EXAMPLES
) -> Check:
    """Looks at every batch normalization of a model.

    Faults are: a layer in eval mode while the model is to be trained; a batch too small for
    statistics; running averages far from the batch's statistics, and a loss that is much worse in
    eval than in train mode, once the model has been trained. A bias before a BatchNorm, which does
    nothing, is noted.

    Parameters
    ----------
    model, loss : Module
        As they are to be trained; nothing of them is changed.
    X, y : array_like
        Training data, preprocessed.
    batch_size : int, default=64
        Of the training.
    examples : int, default=1024

    Returns
    -------
    Check
        A line a layer: distance of the running mean from the batch's in standard deviations, ratio
        of the standard deviations, training mode, batches seen. It passes for a model without
        batch normalization.

    References
    ----------
    Ioffe and Szegedy, Batch normalization, 2015.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    >>> _ = model[1].eval()
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> check = fastnn.diagnostics.batchnorm_check(model, nn.CrossEntropyLoss(), X, y)
    >>> check.advice.splitlines()[0][:63]
    "layer '1' is in eval mode: call model.train() before training, "
    """
    X, y = sample(X, y, examples)
    layers = {
        name: module for name, module in model.named_modules() if isinstance(module, BatchNorm1d)
    }
    findings = Findings()
    if not layers:
        return judge("batch normalization", findings, "no such layer", "", {"layers": []})
    with sandbox(model, loss) as (copy, criterion, _):
        training_without_dropout(copy)
        found = look(copy, criterion, X, y)
        copied = dict(copy.named_modules())
        for name, module in layers.items():  # the running averages that the pass above moved
            for key, array in module._buffers.items():
                copied[name]._buffers[key][...] = array
        rows = [describe(name, module, *found.get(name, ())) for name, module in layers.items()]
        trained = any(row["batches"] for row in rows)
        losses = compare_modes(copy, criterion, X, y) if trained else None
    for row in rows:
        judge_layer(findings, row, batch_size)
    if losses is not None and losses["eval"] > MOST_LOSS_RATIO * losses["train"] + LOSS_FLOOR:
        findings.fault(
            f"the loss is {losses['eval']:.3g} in eval mode, {losses['train']:.3g} in train mode",
            "train longer, or raise the momentum of the running averages; a larger batch makes "
            "them agree",
        )
    return judge(
        "batch normalization",
        findings,
        f"{len(rows)} layer{'s' * (len(rows) != 1)}"
        + (
            ", not trained yet"
            if losses is None
            else (f", loss {losses['eval']:.3g} in eval, {losses['train']:.3g} in train mode")
        ),
        "train mode, batches of 8 values or more, running averages near those of a batch",
        {"layers": rows, "losses": losses},
        (
            ("layer", "mean off by", "std ratio", "train mode", "batches seen", "idle bias"),
            [
                (
                    *(row["name"], row["shift"], row["ratio"], row["training"]),
                    *(row["batches"], row["idle_bias"]),
                )
                for row in rows
            ],
        ),
        draw_statistics if trained else None,
    )


def look(model: Module, loss: Module, X: Any, y: Any) -> dict[str, tuple]:
    """By layer: mean and standard deviation of a batch, values of one example, idle bias, mode."""
    step = TrainingStep(model, loss)
    arrays = [as_array(leaf) for leaf in flatten_structure([X, y])]
    lowered = step.programs.compile(X, y, arrays, len(arrays[0]), keep_all=True).lowered
    lowered.program.load(0, *arrays)
    lowered.program.forward()
    found = {}
    for node in lowered.graph.nodes[: lowered.graph.forward_count]:
        if node.operator.name != "batchnorm":
            continue
        x = node.inputs[0]
        mean, inverse = (lowered.view(v).astype(np.float64).copy() for v in node.outputs[1:3])
        before = x.producer
        idle = (
            before is not None
            and before.operator.takes_scale
            and before.inputs[2] is not None
            and not before.attributes.get("activation")
        )
        with np.errstate(divide="ignore"):
            std = 1 / inverse  # infinite where the variance overflows
        found[node.layer] = mean, std, x.rows, idle, node.attributes["training"]
    return found


def describe(
    name: str,
    module: BatchNorm1d,
    mean: Any = None,
    std: Any = None,
    values: int = 1,
    idle: bool = False,
    trains: bool = True,
) -> dict[str, Any]:
    """The figures of one layer."""
    batches = module.num_batches_tracked
    row = {
        "name": name,
        "training": module.training and trains,  # a layer may ignore its mode
        "batches": None if batches is None else int(batches),
        "values": values,
        "idle_bias": bool(idle),
        "shift": None,
        "ratio": None,
        "mean": mean,
        "std": std,
        "running_mean": None if module.running_mean is None else np.array(module.running_mean),
        "running_std": None
        if module.running_var is None
        else np.sqrt(module.running_var + module.eps),
    }
    if mean is not None and row["batches"]:
        row["shift"] = float(np.median(np.abs(row["running_mean"] - mean) / std))
        ratio = row["running_std"] / std
        row["ratio"] = float(np.exp(np.median(np.abs(np.log(ratio)))))
    return row


def judge_layer(findings: Findings, row: dict[str, Any], batch_size: int) -> None:
    """The faults of one layer."""
    where = f"layer {row['name']!r}"
    if not row["training"]:
        findings.fault(
            f"{where} is in eval mode",
            "call model.train() before training, or it normalizes by running averages that "
            "nothing updates",
        )
    if batch_size * row["values"] < LEAST_VALUES:
        count = batch_size * row["values"]
        uncertain = 100 * math.sqrt(2 / max(count - 1, 1))
        findings.fault(
            f"{where}: a batch has {count} values of a channel, and its variance is uncertain by "
            f"{uncertain:.0f} %",
            f"take batches of {math.ceil(LEAST_VALUES / row['values'])} examples or more",
        )
    if row["shift"] is not None and (row["shift"] > MOST_SHIFT or row["ratio"] > MOST_RATIO):
        findings.fault(
            f"{where}: running averages are far from the batch's (the mean by {row['shift']:.2g} "
            f"standard deviations, the standard deviation by a factor of {row['ratio']:.3g})",
            "train longer, raise the momentum, or look whether the inputs of inference are "
            "preprocessed like those of training",
        )
    if row["idle_bias"]:
        findings.note(f"the bias before {where} does nothing: bias=False saves it")


def compare_modes(model: Module, loss: Module, X: Any, y: Any) -> dict[str, float]:
    """The loss of the same examples in eval and in train mode."""
    model.eval()
    in_eval = float(TrainingStep(model, loss).forward(X, y))
    training_without_dropout(model)
    return {"eval": in_eval, "train": float(TrainingStep(model, loss).forward(X, y))}


def draw_statistics(check: Check, ax: Any) -> None:
    """Running averages against the batch's statistics, a dot a channel."""
    layers = [row for row in check.data["layers"] if row["mean"] is not None]
    if not layers or all(row["running_mean"] is None for row in layers):
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no running averages", ha="center", transform=ax.transAxes)
        return
    for row, colour in zip(layers, colours_of_layers(len(layers)), strict=True):
        if row["running_mean"] is None:
            continue
        label = row["name"] + ("" if row["training"] else " (eval)")
        ax.scatter(row["std"], row["running_std"], s=12, alpha=0.6, label=label, color=colour)
    limits = [*ax.get_xlim(), *ax.get_ylim()]
    span = [max(min(limits), 0), max(limits)]
    ax.plot(span, span, color=GOOD if check.passed else BAD, linewidth=1, zorder=0)
    ax.set_xlabel("standard deviation by channel, of a batch")
    ax.set_ylabel("of the running averages")
    legend_of_layers(ax)
