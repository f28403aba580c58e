"""profile: time, operations and share of the peak of every operator of a training step."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import whole
from fastnn._compiler.lower import LoweredGraph, segments
from fastnn._table import table_lines
from fastnn.nn.module import Module
from fastnn.optim import SGD
from fastnn.optim.optimizer import Optimizer
from fastnn.profiling.peak import peak_flops
from fastnn.random import undisturbed
from fastnn.training.step import TrainingStep

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PHASES = ("forward", "backward", "update")
PHASE_COLORS = {"forward": "tab:blue", "backward": "tab:orange", "update": "tab:green"}


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """A row of a profile.

    Attributes
    ----------
    phase : "forward", "backward" or "update"
    layer : str
        Dotted name of the layer that it belongs to; "" for an update.
    operator : str
    kernel : str
        What computed it; the kernel of a convolution tells the algorithm.
    seconds : float
    flops : int
        Floating-point operations with the whole batch.
    """

    phase: str
    layer: str
    operator: str
    kernel: str
    seconds: float
    flops: int

    @property
    def gflops(self) -> float:
        """10^9 operations a second."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0


@dataclasses.dataclass(frozen=True)
class Profile:
    """What `profile` returns; prints as a table.

    Attributes
    ----------
    rows : list of OperatorTime
        In the order in which they run.
    peak_gflops : float
        What the machine reaches with nothing but multiply-adds on registers.
    batch_size, threads : int
    """

    rows: list[OperatorTime]
    peak_gflops: float
    batch_size: int
    threads: int

    @property
    def seconds(self) -> float:
        """Of a step."""
        return sum(row.seconds for row in self.rows)

    @property
    def totals(self) -> dict[str, OperatorTime]:
        """The sums of "forward", "backward", "update" and "step"."""
        sums = {}
        for phase in (*PHASES, "step"):
            rows = [row for row in self.rows if phase in (row.phase, "step")]
            seconds, flops = sum(row.seconds for row in rows), sum(row.flops for row in rows)
            sums[phase] = OperatorTime(phase, "", "", "", seconds, flops)
        return sums

    def share_of_peak(self, row: OperatorTime) -> float:
        """A row's rate by the machine's.

        Parameters
        ----------
        row : OperatorTime

        Returns
        -------
        float
        """
        return row.gflops / self.peak_gflops

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts.

        Returns
        -------
        dict
        """

        def described(row: OperatorTime) -> dict[str, Any]:
            return dataclasses.asdict(row) | {
                "gflops": row.gflops,
                "share_of_peak": self.share_of_peak(row),
            }

        return {
            "batch_size": self.batch_size,
            "threads": self.threads,
            "peak_gflops": self.peak_gflops,
            "rows": [described(row) for row in self.rows],
            "totals": {phase: described(row) for phase, row in self.totals.items()},
        }

    def plot(self, ax: Any = None) -> Any:
        """Draws the time of each operator as a bar, with matplotlib.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        Axes
        """
        if ax is None:
            import matplotlib.pyplot as plt

            figure, ax = plt.subplots(figsize=(8, 1.2 + 0.22 * len(self.rows)))
            figure.set_layout_engine("constrained")
        for phase in PHASES:
            places = [i for i, row in enumerate(self.rows) if row.phase == phase]
            times = [self.rows[i].seconds * 1e3 for i in places]
            ax.barh(places, times, color=PHASE_COLORS[phase], label=phase)
        names = [f"{row.layer} {row.operator}".strip() for row in self.rows]
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set_xlabel("milliseconds")
        ax.legend()
        return ax

    def __str__(self) -> str:
        header = ("phase", "layer", "kernel", "time", "of step", "GFLOP/s", "of peak")
        body = [self._cells(row, row.layer, row.kernel) for row in self.rows]
        sums = [self._cells(row, "", "total") for row in self.totals.values()]
        lines, rule = table_lines([header, *body, *sums], [False] * 3 + [True] * 4)
        first_sum = 1 + len(body)
        return "\n".join(
            [
                *(lines[0], rule, *lines[1:first_sum], rule, *lines[first_sum:]),
                f"batch of {self.batch_size}, {self.threads} threads; the machine's peak: "
                f"{self.peak_gflops:,.0f} GFLOP/s",
                "Operations are those of the definition: Winograd's convolutions need fewer, and "
                "may so exceed the peak.",
            ]
        )

    __repr__ = __str__

    def _cells(self, row: OperatorTime, layer: str, kernel: str) -> tuple[str, ...]:
        micro = row.seconds * 1e6
        time = f"{micro:.1f} us" if micro < 1000 else f"{micro / 1000:.2f} ms"
        share = row.seconds / self.seconds if self.seconds else 0.0
        counted = (f"{row.gflops:.1f}", f"{self.share_of_peak(row):.1%}") if row.flops else ("", "")
        return row.phase, layer, kernel, time, f"{share:.1%}", *counted


def profile(
    model: Module,
    loss: Module,
    X: ArrayLike,
    y: ArrayLike,
    optimizer: Optimizer | None = None,
    repetitions: int = 20,
) -> Profile:
    """Measures every operator of a training step with one batch: forward, backward and update.

    The step runs on copies: model, loss, optimizer and random numbers are left as they are.

    Parameters
    ----------
    model, loss : Module
        As in `TrainingStep`; the model in training mode.
    X, y : array
        One batch, all of it.
    optimizer : Optimizer, optional
        Whose update is measured; ``SGD(momentum=0.9)`` by default.
    repetitions : int, default=20
        How often the step runs; the shortest time of each operator counts.

    Returns
    -------
    Profile
        With `rows`, `totals`, ``to_dict()`` and ``plot()``; prints as a table.

    Raises
    ------
    TypeError, ValueError
        As `TrainingStep` does.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> model = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 2))
    >>> X, y = np.ones((32, 20)), np.zeros(32, int)
    >>> found = fastnn.profile(model, nn.CrossEntropyLoss(), X, y)
    >>> [row.kernel for row in found.rows if row.phase == "forward"]
    ['linear_forward', 'linear_forward', 'cross_entropy_forward']
    >>> found.totals["forward"].flops
    72320
    """
    repetitions = whole("repetitions", repetitions, 1)
    with undisturbed():
        step = copied_step(model, loss, optimizer)
        step(X, y)
        compiled = step.programs.current
        assert compiled is not None
        lowered, threads = compiled.lowered, compiled.threads
        nanoseconds = lowered.program.time_steps(repetitions)
    return Profile(
        operator_times(lowered, nanoseconds),
        peak_flops(lowered.graph.dtype, threads) / 1e9,
        lowered.program.batch,
        threads,
    )


def copied_step(model: Module, loss: Module, optimizer: Optimizer | None) -> TrainingStep:
    """A step with copies, whose update has all its work to do and changes nothing."""
    TrainingStep(model, loss, optimizer)  # raises where they are not what they should be
    memo: dict[int, Any] = {}
    model, loss = copy.deepcopy(model, memo), copy.deepcopy(loss, memo)
    model.train()
    if optimizer is None:
        return TrainingStep(model, loss, SGD(lr=0.0, momentum=0.9))
    # A subclass has its own defaults for what `Optimizer` asks for.
    make: Callable[..., Optimizer] = type(optimizer)
    groups = [{**group, "lr": 0.0} for group in optimizer.param_groups]
    if optimizer.takes_all:
        options = {name: value for name, value in groups[0].items() if name != "params"}
        return TrainingStep(model, loss, make(**options))
    for group in groups:
        group["params"] = [memo.get(id(parameter), parameter) for parameter in group["params"]]
    return TrainingStep(model, loss, make(groups))


def operator_times(lowered: LoweredGraph, nanoseconds: Any) -> list[OperatorTime]:
    """A row for each operator: the steps of a node together."""
    nodes, kernels = lowered.step_nodes, lowered.program.kernel_names
    counts = segments(lowered.graph, nodes)
    phases = np.repeat(PHASES, counts)
    rows: list[OperatorTime] = []
    for i, node in enumerate(nodes):
        seconds, kernel = float(nanoseconds[i]) / 1e9, kernels[i]
        if i and node is nodes[i - 1]:
            before = rows.pop()
            seconds, kernel = before.seconds + seconds, f"{before.kernel} + {kernel}"
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        examples = lowered.program.batch if any(value.batched for value in values) else 1
        flops = node.operator.flops(node) * examples
        rows.append(
            OperatorTime(str(phases[i]), node.layer, node.operator.name, kernel, seconds, flops)
        )
    return rows
