"""Monitor: looks at a training every some steps, and warns where something goes wrong.

A look costs a copy of what units give to a few examples, which the training's own program makes on
its way through a step, and sums over a sample of each parameter, of its gradient and of its change
in that step. To see that change, the training returns to Python before and after the step.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import whole
from fastnn._compiler.layout import PLAIN, is_image
from fastnn.diagnostics.activations import ADVICE, MOST_DEAD, MOST_SATURATED, MOST_UPDATE, layer_of
from fastnn.diagnostics.figures import colours_of_layers, legend_of_layers
from fastnn.diagnostics.layer_values import (
    activation_of,
    layer_nodes,
    saturated_share,
    silent_units,
)
from fastnn.nn.version import LayoutVersion, StructureVersion
from fastnn.training.callbacks import Callback
from fastnn.training.divergence import EXPLODED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn._compiler.lower import LoweredGraph
    from fastnn.nn.module import Module
    from fastnn.training.trainer import Trainer

# Enough examples for a share of saturated outputs; a unit is called dead only after it was silent
# in some looks in sequence, each at other examples.
EXAMPLES = 16
LOOKS_TO_DIE = 6
# Activations whose units die or saturate.
WATCHED = ("relu", "sigmoid", "tanh")
# Elements of a parameter that norms are taken of: a ratio of norms is then right to some percent.
SAMPLE = 4096
# They are taken in so many pieces, as each costs the way to memory.
SAMPLE_PIECES = 256


class TrainingWarning(UserWarning):
    """Something goes wrong in a training that is running."""


class Monitor(Callback):
    """A callback that watches units, gradients and updates during `fastnn.Trainer.fit`.

    Parameters
    ----------
    every : int, default=50
        Steps between two looks. A look takes about 0.1 ms and the return to Python as much: at 50
        2 to 3 % of a training whose steps take 0.2 ms. Look less often at smaller ones.
    warn : bool, default=True
        Whether to issue a `TrainingWarning` when something goes wrong; `warnings` has them anyway.

    Attributes
    ----------
    steps : list of int
        When it looked.
    losses : list of float
        The mean loss since the look before.
    dead, saturated : dict of layer to list of float
        Share of ReLU units that were zero for all examples of the last six looks; share of outputs
        of sigmoid and tanh with a derivative below 5 % of its maximum. A layer that is used again
        has an entry "name (use 2)".
    updates : dict of layer to list of float
        Norm of a step's change of the weights over their norm; about 1e-3 is well. From a sample of
        each parameter, as is:
    gradients : dict of layer to list of float
        Norm of the loss's gradient by the weights.
    warnings : list of str

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn, optim
    >>> fastnn.manual_seed(0)
    >>> X, y = fastnn.datasets.digits()
    >>> X = fastnn.preprocessing.Standardize().fit_transform(X)
    >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    >>> monitor = fastnn.diagnostics.Monitor(every=20)
    >>> trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
    >>> history = trainer.fit(X, y, epochs=2, callbacks=[monitor])
    >>> monitor.steps, list(monitor.dead), monitor.warnings
    ([20, 40], ['0'], [])
    """

    def __init__(self, every: int = 50, warn: bool = True):
        self.every = whole("every", every, 2, where="Monitor: ")
        self.warn = warn
        self._watch: Watch | None = None
        self.forget()

    def forget(self) -> None:
        """Begins anew, without figures."""
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.dead: dict[str, list[float]] = {}
        self.saturated: dict[str, list[float]] = {}
        self.updates: dict[str, list[float]] = {}
        self.gradients: dict[str, list[float]] = {}
        self.warnings: list[str] = []
        self._silent: dict[str, list[NDArray]] = {}
        self._since: dict[tuple[str, str], int] = {}
        self._told: set[tuple[str, str]] = set()
        self._before: dict[str, NDArray] = {}
        self._samples: dict[str, tuple[NDArray, NDArray, float]] = {}
        self._versions: Any = None

    # -- when -----------------------------------------------------------------------------------

    def next_step(self, done: int) -> int:
        """Before and after the last of every `every` steps."""
        last = (done // self.every + 1) * self.every
        return last - 1 if done < last - 1 else last

    def on_fit_start(self, trainer: Trainer) -> None:
        self.forget()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def on_step_end(self, trainer: Trainer, epoch: int, batch: int, loss: float) -> None:
        versions = StructureVersion.count, LayoutVersion.count
        if versions != self._versions:
            self._samples = samples(trainer.model)
            self._versions = versions
        if trainer.steps_done % self.every:
            self._before = {name: values.copy() for name, (values, *_) in self._samples.items()}
            lowered = trainer.step.programs.lowered
            if self._watch is None or self._watch.lowered is not lowered:
                self._watch = Watch(lowered)
            self._watch.begin()
            return
        self.steps.append(trainer.steps_done)
        self.losses.append(loss)
        times = loss / self.losses[0] if self.losses[0] > 0 else 0.0
        what = f"the loss is {times:.3g} times that of the first look"
        self._judge("", "explodes", times > EXPLODED, what, "lower the learning rate")
        self._look_at_units(trainer)
        self._look_at_weights()

    # -- what -----------------------------------------------------------------------------------

    def _look_at_weights(self) -> None:
        for name, (values, gradient, scale) in self._samples.items():
            before = self._before.get(name)
            if before is None or before.shape != values.shape:
                continue
            ratio = norm(values - before) / (norm(before) or math.inf)
            self.updates.setdefault(name, []).append(ratio)
            self.gradients.setdefault(name, []).append(scale * norm(gradient))
            slope = self.gradients[name][-1]
            what = f"updates of {ratio:.2g}"
            self._judge(name, "large updates", ratio > MOST_UPDATE, what, ADVICE["large updates"])
            # Behind dead units there is none, and they were warned of.
            if not any(shares[-1] > MOST_DEAD for shares in self.dead.values()):
                advice = ADVICE["no gradient"]
                self._judge(name, "no gradient", slope == 0, "no gradient", advice)

    def _look_at_units(self, trainer: Trainer) -> None:
        watch = self._watch
        if watch is None:
            return
        watch.end()
        if watch.lowered is not trainer.step.programs.lowered:
            return  # the step was compiled anew, since somebody changed the model before it
        for name, activation, outputs in watch.found():
            share = saturated_share(activation, outputs)
            if share is not None:
                self.saturated.setdefault(name, []).append(share)
                bad = bool(share > MOST_SATURATED)
                what = f"{100 * share:.0f} % saturated"
                self._judge(name, "saturated", bad, what, ADVICE["saturated"])
            elif activation == "relu":
                looks = self._silent.setdefault(name, [])
                looks.append(silent_units(outputs))
                del looks[:-LOOKS_TO_DIE]
                silent = functools.reduce(np.logical_and, looks)
                share = float(np.count_nonzero(silent) / len(silent))
                self.dead.setdefault(name, []).append(share)
                bad = bool(share > MOST_DEAD) and len(looks) == LOOKS_TO_DIE
                what = f"{100 * share:.0f} % of units dead"
                self._judge(name, "dead", bad, what, ADVICE["dead"])

    def _judge(self, layer: str, kind: str, bad: bool, what: str, advice: str) -> None:
        """Warns once of each fault of a layer (or of all), when it has lasted for two looks."""
        key = layer, kind
        if not bad:
            self._since.pop(key, None)
            return
        since = self._since.setdefault(key, self.steps[-1])
        if since == self.steps[-1] or key in self._told:
            return
        self._told.add(key)
        where = f"layer {layer}: " if layer else ""
        self.warnings.append(f"{where}{what} since step {since}; {advice}")
        if self.warn:
            warnings.warn(self.warnings[-1], TrainingWarning, stacklevel=2)

    # -- looks ----------------------------------------------------------------------------------

    def plot(self, axes: Any = None) -> Any:
        """Draws loss, update-to-weight ratios, gradient norms, dead and saturated shares.

        Parameters
        ----------
        axes : sequence of four matplotlib Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        ndarray of Axes
        """
        if axes is None:
            import matplotlib.pyplot as plt

            _, axes = plt.subplots(1, 4, figsize=(15, 3.4), layout="constrained")
        axes = np.asarray(axes, dtype=object).ravel()
        axes[0].plot(self.steps, self.losses, color="tab:blue")
        axes[0].set_title("loss")
        lines(axes[1], self.steps, self.updates, "update / weight")
        axes[1].axhline(1e-3, color="0.35", linestyle="--", linewidth=1)
        lines(axes[2], self.steps, self.gradients, "gradient norm")
        for axis, series in ((axes[1], self.updates), (axes[2], self.gradients)):
            if any(value > 0 for values in series.values() for value in values):
                log_scale(axis)
        shares = {f"{name} dead": share for name, share in self.dead.items()}
        shares |= {f"{name} saturated": share for name, share in self.saturated.items()}
        lines(axes[3], self.steps, shares, "share of units")
        axes[3].set_ylim(-0.02, 1.02)
        for axis in axes:
            axis.set_xlabel("step")
            axis.grid(alpha=0.3)
        return axes


class Watch:
    """Copies of what units give, made by the training's own program as a step computes it."""

    def __init__(self, lowered: LoweredGraph):
        self.lowered = lowered
        nodes = [
            node
            for node in layer_nodes(lowered.graph)
            if activation_of(node) in WATCHED and node.outputs[0].batched
        ]
        self.taps = lowered.taps([node.outputs[0] for node in nodes], EXAMPLES)
        self.layers = []
        uses: dict[str, int] = {}
        for node, (_, _, copy) in zip(nodes, self.taps, strict=True):
            value = node.outputs[0]
            # A layer may be used more than once, and activations that are functions all belong to
            # the module whose `forward` calls them.
            uses[node.layer] = use = uses.get(node.layer, 0) + 1
            name = node.layer if use == 1 else f"{node.layer} (use {use})"
            by_units = (
                np.moveaxis(copy, 1, -1) if is_image(value) and value.layout == PLAIN else copy
            )
            self.layers.append((name, activation_of(node), by_units))

    def begin(self) -> None:
        """From the next step on."""
        self.lowered.program.tap(self.taps)

    def end(self) -> None:
        """The training goes on unwatched."""
        self.lowered.program.untap(self.taps)

    def found(self) -> list[tuple[str, str, NDArray]]:
        """Layer, activation and outputs of a step's first examples, units on the last axis."""
        examples = min(EXAMPLES, self.lowered.program.batch)
        return [(layer, kind, outputs[:examples]) for layer, kind, outputs in self.layers]


def samples(model: Module) -> dict[str, tuple[NDArray, NDArray, float]]:
    """By layer a sample of its weights and of their gradient, as views that follow the training.

    The last entry brings the norm of a sample to that of the whole.
    """
    found = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.gradient
        if parameter.requires_grad and gradient is not None and len(parameter.shape) > 1:
            values = sample(parameter.storage)
            scale = math.sqrt(parameter.size / values.size)
            found[layer_of(name)] = values, sample(gradient), scale
    return found


def sample(array: NDArray) -> NDArray:
    """Evenly spaced pieces of an array, one a row: a view."""
    flat = array.reshape(-1)
    if flat.size <= SAMPLE:
        return flat[np.newaxis]
    # An odd spacing meets all columns of a weight with an even number of them.
    spacing = flat.size // SAMPLE_PIECES | 1
    pieces = flat.size // spacing
    return flat[: pieces * spacing].reshape(pieces, spacing)[:, : SAMPLE // SAMPLE_PIECES]


def norm(values: NDArray) -> float:
    """The 2-norm, without BLAS: its threads would go on spinning beside the training's."""
    return math.sqrt(float(np.einsum("ij,ij->", values, values)))


def lines(axis: Any, steps: list[int], series: Mapping[str, list[float]], title: str) -> None:
    """A line for each layer."""
    for (name, values), colour in zip(series.items(), colours_of_layers(len(series)), strict=True):
        label = name or "the model"  # for a single layer; without a label there is no legend
        axis.plot(steps[-len(values) :], values, label=label, color=colour, linewidth=1.2)
    axis.set_title(title)
    if series:
        legend_of_layers(axis)


def log_scale(axis: Any) -> None:
    """A log scale whose ticks are few, and plain numbers, over one decade or many."""
    from matplotlib.ticker import LogLocator

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3 else (1,)
    axis.yaxis.set_major_locator(LogLocator(subs=steps))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
