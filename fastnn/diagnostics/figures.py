"""What the pictures share: colours, a new figure, a row of histograms, PNG as text.

matplotlib is imported where a figure is made: a check that is not looked at does without.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.diagnostics.check import Check

GOOD, BAD, PLAIN, THEORY = "tab:green", "tab:red", "tab:blue", "0.35"
# Histograms side by side; more layers than this go on a second row.
HISTOGRAMS_IN_A_ROW = 5
# More lines of a legend would cover the picture, more colours than matplotlib has would repeat.
MOST_IN_LEGEND, COLOURS = 8, 10


def histogram(values: NDArray, bins: int) -> tuple[NDArray, NDArray]:
    """Counts and edges; one bin where the values lie too near each other for several."""
    low, high = np.float64(values.min()), np.float64(values.max())
    if low < high and not (np.diff(np.linspace(low, high, bins + 1)) > 0).all():
        return np.array([values.size]), np.array([low, high])
    if low == high and low + 0.5 - (low - 0.5) != 1:
        return np.array([values.size]), np.array([low - abs(low), low + abs(low)])
    return np.histogram(values, bins=bins)


def new_axes(width: float, height: float) -> Any:
    """Axes on a figure of their own."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(width, height), layout="constrained")
    return axes


def draw_verdict(check: Check, ax: Any) -> None:
    """For a check without a picture of its own: its verdict in words."""
    ax.set_axis_off()
    ax.text(0, 1, str(check), va="top", family="monospace", fontsize=8, transform=ax.transAxes)


def data_uri(check: Check) -> str:
    """The picture of a check as a PNG in a data URI."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=check.size, layout="constrained")
    check.plot(figure.add_subplot())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def rows_of_histograms(count: int) -> int:
    """Over how many rows `draw_histograms` spreads."""
    return max(1, -(-count // HISTOGRAMS_IN_A_ROW))


def draw_histograms(
    ax: Any,
    names: Sequence[str],
    histograms: Sequence[tuple[NDArray, NDArray]],
    colours: Sequence[str],
    columns: int | None = None,
    ticks: Sequence[float] | None = None,
) -> None:
    """The course's picture: a histogram for each layer, side by side, on the place of `ax`.

    Each histogram is (counts, edges). `ticks` are those of all.
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator

    ax.set_axis_off()
    if columns is None:
        columns = -(-len(names) // rows_of_histograms(len(names)))
    rows = -(-len(names) // columns)
    for i, (name, (counts, edges), colour) in enumerate(
        zip(names, histograms, colours, strict=True)
    ):
        row, column = divmod(i, columns)
        width, height = 1 / columns, 1 / rows
        small = ax.inset_axes(
            [column * width, 1 - (row + 1) * height + 0.14 * height, 0.84 * width, 0.56 * height]
        )
        small.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colour)
        small.set_title(name, fontsize=8, pad=3)
        small.set_yticks([])
        small.tick_params(labelsize=7)
        small.xaxis.set_major_locator(MaxNLocator(2) if ticks is None else FixedLocator(ticks))
        small.xaxis.set_major_formatter("{x:.2g}")
        for side in ("top", "right", "left"):
            small.spines[side].set_visible(False)


def colours_of_layers(count: int) -> Sequence[Any]:
    """A colour for each; those of many layers tell how deep they lie."""
    from matplotlib import colormaps

    if count <= COLOURS:
        return [f"C{number}" for number in range(count)]
    return list(colormaps["viridis"](np.linspace(0, 0.95, count)))


def legend_of_layers(ax: Any) -> None:
    """A line for each layer, or for some of many, from the first to the last."""
    handles, names = ax.get_legend_handles_labels()
    title = "layer"
    if len(names) > MOST_IN_LEGEND:
        title = f"{MOST_IN_LEGEND} of {len(names)} layers"
        chosen = np.linspace(0, len(names) - 1, MOST_IN_LEGEND).round().astype(int)
        handles, names = [handles[i] for i in chosen], [names[i] for i in chosen]
    ax.legend(handles, names, fontsize=7, title=title, title_fontsize=7)


def text_size(text: str) -> tuple[float, float]:
    """Inches of a figure on which `draw_verdict` has room."""
    lines = text.splitlines()
    return max(8.0, 0.075 * max(map(len, lines))), max(3.4, 0.4 + 0.145 * len(lines))


def draw_bars(ax: Any, entries: Mapping[str, float], passed: bool, label: str) -> None:
    """Bars with their values: the first is what was measured, the others what was expected."""
    colours = [GOOD if passed else BAD, *["0.7"] * (len(entries) - 1)]
    bars = ax.barh(list(entries), list(entries.values()), color=colours, height=0.55)
    ax.bar_label(bars, fmt="%.4g", padding=4)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_xlabel(label)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
