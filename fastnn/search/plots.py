"""Pictures of a search: the course's scatter, marginal effects, and why random beats the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.search.result import SearchResult
from fastnn.search.space import Choice
from fastnn.search.trial import Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The colours tell the better trials apart: worse ones than this share all have the last colour.
COLOUR_QUANTILE = 0.5
# Values of a list that span more than this factor are drawn on a log scale.
LOG_SPAN = 30
MOST_BINS = 8
TRIALS_PER_BIN = 4
COLUMNS = 3
# Of the picture of grid and random trials: more points would hide what it shows.
LARGEST_SIDE = 5
REGULARIZATIONS = ("decay", "reg", "l2", "l1", "lam")


class Axis:
    """One hyperparameter along an axis: where each value lies, and how the axis is labelled."""

    def __init__(self, result: SearchResult, name: str):
        self.name = name
        self.dimension = result.spaces[0][name]
        self.categories: list[Any] = []
        self.is_log = self.dimension.is_log
        if isinstance(self.dimension, Choice):
            values = self.dimension.values
            numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
            if not numbers:
                self.categories = list(values)
            elif min(values) > 0 and max(values) > LOG_SPAN * min(values):
                self.is_log = True

    def places(self, values: Sequence[Any]) -> NDArray:
        """Values as numbers along the axis."""
        if self.categories:
            return np.array([self.categories.index(value) for value in values], float)
        return np.array(values, float)

    def scaled(self, values: Sequence[Any]) -> NDArray:
        """Places on a scale on which equal steps mean as much: the logarithm where there is one."""
        return np.log(self.places(values)) if self.is_log else self.places(values)

    def label(self, axis: Any, vertical: bool = False) -> None:
        """Names and scales a matplotlib axis."""
        side = "y" if vertical else "x"
        getattr(axis, f"set_{side}label")(self.name)
        if self.is_log:
            getattr(axis, f"set_{side}scale")("log")
        if self.categories:
            names = [getattr(value, "__name__", str(value)) for value in self.categories]
            getattr(axis, f"set_{side}ticks")(range(len(names)), names)


def plot(result: SearchResult, x: str | None, y: str | None, axes: Any) -> NDArray:
    """See `SearchResult.plot`."""
    count = 1 + len(varied(result))
    if axes is None:
        axes = new_axes(count)
    axes = as_axes(axes, count)
    plot_scatter(result, x, y, axes[0])
    plot_marginals(result, axes[1:])
    return axes


def plot_scatter(result: SearchResult, x: str | None, y: str | None, ax: Any) -> Any:
    """See `SearchResult.plot_scatter`."""
    across, up = default_pair(result, x, y)
    if ax is None:
        (ax,) = new_axes(1)
    finished, diverged = parted(result)
    places = [axis.places([t.params[axis.name] for t in finished]) for axis in (across, up)]
    scores = np.array([t.score for t in finished])
    if len(diverged):
        lost = [axis.places([t.params[axis.name] for t in diverged]) for axis in (across, up)]
        ax.scatter(*lost, marker="x", color="0.6", s=28, zorder=2)
    if len(finished):
        order = np.argsort(scores if result.maximize else -scores)  # the best are drawn last
        low, high = scores.min(), scores.max()
        if result.maximize:
            low = np.quantile(scores, COLOUR_QUANTILE)
        else:
            high = np.quantile(scores, 1 - COLOUR_QUANTILE)
        drawn = ax.scatter(
            *(place[order] for place in places),
            c=scores[order],
            cmap="viridis" if result.maximize else "viridis_r",
            vmin=low,
            vmax=high,
            s=44,
            edgecolor="white",
            linewidth=0.5,
            zorder=3,
        )
        ax.figure.colorbar(
            drawn,
            ax=ax,
            label=f"validation {result.metric}",
            extend="min" if result.maximize else "max",
        )
        best = result.best
        ax.scatter(
            *(axis.places([best.params[axis.name]]) for axis in (across, up)),
            facecolor="none",
            edgecolor="tab:red",
            s=140,
            linewidth=1.5,
            zorder=4,
        )
    across.label(ax)
    up.label(ax, vertical=True)
    title = f"{len(finished) + len(diverged)} trials, {len(diverged)} diverged (x)"
    ax.set_title(f"{title}; best {result.best.score:.4g} (ring)" if finished else title)
    ax.grid(alpha=0.3)
    return ax


def plot_marginals(result: SearchResult, axes: Any) -> NDArray:
    """See `SearchResult.plot_marginals`."""
    names = varied(result)
    if axes is None:
        axes = new_axes(len(names))
    axes = as_axes(axes, len(names))
    finished, diverged = parted(result)
    scores = np.array([trial.score for trial in finished])
    stages = sorted({trial.stage for trial in finished})
    for ax, name in zip(axes, names, strict=False):
        axis = Axis(result, name)
        values = [trial.params[name] for trial in finished]
        places = axis.places(values)
        for stage in stages:
            chosen = np.array([trial.stage == stage for trial in finished])
            ax.scatter(
                places[chosen],
                scores[chosen],
                s=22,
                alpha=0.75,
                color=f"C{stage}",
                label=f"stage {stage}" if len(stages) > 1 else "trial",
            )
        if len(diverged):
            lost = axis.places([trial.params[name] for trial in diverged])
            # Along the worse edge of the picture, whatever the scores are; that the picture has to
            # reach as far, matplotlib does not see.
            ax.update_datalim(np.column_stack([lost, np.zeros(len(lost))]), updatey=False)
            ax.scatter(
                lost,
                np.full(len(lost), 0.02 if result.maximize else 0.98),
                transform=ax.get_xaxis_transform(),
                marker="x",
                s=22,
                color="0.6",
                label="diverged",
            )
        if len(finished) >= 2 * TRIALS_PER_BIN:
            middles, medians, best = along(axis, values, scores, result.maximize)
            ax.plot(middles, medians, color="0.35", linewidth=1.2, label="median")
            ax.plot(middles, best, color="tab:red", linewidth=1.2, label="best")
        share = explained(axis, values, scores, result.maximize)
        axis.label(ax)
        ax.set_ylabel(f"validation {result.metric}")
        ax.set_title(f"{name} explains {share:.0%}")
        ax.grid(alpha=0.3)
    if len(axes):
        axes[0].legend(fontsize="small", framealpha=0.8)
    return axes


def plot_random_versus_grid(
    result: SearchResult, x: str | None, y: str | None, axes: Any
) -> NDArray:
    """See `SearchResult.plot_random_versus_grid`."""
    across, up = important_pair(result, x, y)
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(
            2,
            2,
            figsize=(8.4, 6.0),
            sharex=True,
            sharey="row",
            height_ratios=(1, 2),
            layout="constrained",
        )
    axes = as_axes(axes, 4).reshape(2, 2)
    finished, diverged = parted(result)
    grid, random = grid_and_random(result, across, up)
    values = [trial.params[across.name] for trial in [*finished, *diverged]]
    reached = [trial.score for trial in finished if trial.score is not None]
    # A trial that diverged counts as much as the worst that did not.
    worst = min(reached) if result.maximize else max(reached)
    scores = np.array(reached + [worst] * len(diverged))
    middles, medians, _ = along(across, values, scores, result.maximize)
    scaled = np.log(middles) if across.is_log else middles
    # Beyond the outermost bins the curve goes on level, as far as there are points to be drawn.
    drawn = sorted({point[0] for point in [*grid, *random]}, key=lambda v: across.scaled([v])[0])
    ends = across.places([drawn[0], drawn[-1]])
    curve = (
        [min(ends[0], middles[0]), *middles, max(ends[1], middles[-1])],
        [medians[0], *medians, medians[-1]],
    )
    for column, (title, points) in enumerate((("grid", grid), ("random", random))):
        above, below = axes[:, column]
        tried = list(dict.fromkeys(point[0] for point in points))
        places = across.places(tried)
        heights = np.interp(across.scaled(tried), scaled, medians)
        above.plot(*curve, color="tab:blue")
        above.scatter(places, heights, color="tab:red", s=18, zorder=3)
        above.set_title(f"{title}: {len(points)} trials,\n{len(tried)} values of {across.name}")
        above.grid(alpha=0.3)
        for place in places:
            below.axvline(place, color="tab:red", alpha=0.25, linewidth=0.8, zorder=1)
        below.scatter(
            across.places([a for a, _ in points]),
            up.places([b for _, b in points]),
            color="black",
            s=22,
            zorder=2,
        )
        across.label(below)
        up.label(below, vertical=True)
        below.grid(alpha=0.3)
    axes[0, 0].set_ylabel(f"median {result.metric}")
    axes[1, 1].set_ylabel("")
    return axes


# -- what the pictures are made of ----------------------------------------------------------------


def grid_and_random(
    result: SearchResult, across: Axis, up: Axis
) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
    """The points of a grid of as many trials, and random ones: the search's own, if it has any."""
    side = min(LARGEST_SIDE, max(2, math.isqrt(len(result.trials))))
    grid = [(a, b) for a in across.dimension.points(side) for b in up.dimension.points(side)]
    if result.kind == "grid_search":
        rng = np.random.default_rng(0)
        return grid, [(across.dimension.draw(rng), up.dimension.draw(rng)) for _ in grid]
    first = {trial.number: trial for trial in result.trials if trial.stage == 0}
    trials = list(first.values())[: len(grid)]
    return grid, [(trial.params[across.name], trial.params[up.name]) for trial in trials]


def parted(result: SearchResult) -> tuple[list[Trial], list[Trial]]:
    """Finished and diverged trials, of each number the longest."""
    latest = {trial.number: trial for trial in sorted(result.trials, key=lambda t: t.stage)}
    trials = list(latest.values())
    finished = [trial for trial in trials if trial.score is not None]
    return finished, [trial for trial in trials if trial.score is None]


def varied(result: SearchResult) -> list[str]:
    """Names of the hyperparameters that have more than one value; all if none has."""
    names = [
        name
        for name, dimension in result.spaces[0].items()
        if not isinstance(dimension, Choice) or len(dimension.values) > 1
    ]
    return names or list(result.spaces[0])


def default_pair(result: SearchResult, x: str | None, y: str | None) -> tuple[Axis, Axis]:
    """Learning rate and regularization, or what comes closest."""
    names = varied(result)
    check_names(result, x, y)
    by_fitness = sorted(names, key=lambda name: not Axis(result, name).is_log)
    x = x or next((n for n in by_fitness if n.lower().endswith(("lr", "rate"))), None)
    x = x or next(name for name in by_fitness if name != y)
    rest = [name for name in by_fitness if name != x]
    is_regularization = [n for n in rest if any(part in n.lower() for part in REGULARIZATIONS)]
    y = y or next(iter(is_regularization + rest), x)
    return Axis(result, x), Axis(result, y)


def important_pair(result: SearchResult, x: str | None, y: str | None) -> tuple[Axis, Axis]:
    """The hyperparameter that explains most of the scores, and the one that explains least."""
    check_names(result, x, y)
    finished, _ = parted(result)
    scores = np.array([trial.score for trial in finished])
    shares = {
        name: explained(
            Axis(result, name), [t.params[name] for t in finished], scores, result.maximize
        )
        for name in varied(result)
        if result.spaces[0][name].has_scale or isinstance(result.spaces[0][name], Choice)
    }
    if len(shares) < 2 or len(finished) < 2:
        raise ValueError(
            f"plot_random_versus_grid: got {len(shares)} hyperparameters with a scale and "
            f"{len(finished)} finished trials, expected two or more of both"
        )
    order = sorted(shares, key=shares.__getitem__, reverse=True)
    x = x or next(name for name in order if name != y)
    y = y or next(name for name in reversed(order) if name != x)
    return Axis(result, x), Axis(result, y)


def check_names(result: SearchResult, *names: str | None) -> None:
    """ValueError for a name that is no hyperparameter."""
    for name in names:
        if name is not None and name not in result.spaces[0]:
            raise ValueError(f"got {name!r}, expected one of {list(result.spaces[0])}")


def binned(axis: Axis, values: Sequence[Any]) -> list[NDArray]:
    """Rows of trials that lie together along an axis: by category, else in parts of equal count."""
    places = axis.scaled(values)
    distinct = np.unique(places)
    if axis.categories or len(distinct) <= MOST_BINS:
        return [np.flatnonzero(places == place) for place in distinct]
    bins = max(1, min(MOST_BINS, len(places) // TRIALS_PER_BIN))
    return [part for part in np.array_split(np.argsort(places, kind="stable"), bins) if len(part)]


def along(
    axis: Axis, values: Sequence[Any], scores: NDArray, maximize: bool
) -> tuple[NDArray, NDArray, NDArray]:
    """Place, median score and best score of each bin."""
    parts = binned(axis, values)
    scaled = axis.scaled(values)
    middles = np.array([np.median(scaled[part]) for part in parts])
    medians = np.array([np.median(scores[part]) for part in parts])
    best = np.array([scores[part].max() if maximize else scores[part].min() for part in parts])
    return np.exp(middles) if axis.is_log else middles, medians, best


def explained(axis: Axis, values: Sequence[Any], scores: NDArray, maximize: bool) -> float:
    """The share of the ranks' variance that lies between bins: how much a hyperparameter matters.

    Of ranks and not of scores, so that a few very bad trials don't decide. Corrected for what bins
    of chance would explain: 1 - (1 - R^2) (n - 1) / (n - bins).
    """
    count = len(scores)
    parts = binned(axis, values)
    if count <= len(parts) or len(parts) < 2:
        return 0.0
    ranks = np.argsort(np.argsort(scores, kind="stable")).astype(float)
    within = sum(float(((ranks[part] - ranks[part].mean()) ** 2).sum()) for part in parts)
    share = within / float(((ranks - ranks.mean()) ** 2).sum())
    return max(0.0, 1 - share * (count - 1) / (count - len(parts)))


def new_axes(count: int) -> NDArray:
    """Axes of a new figure, in rows of three."""
    import matplotlib.pyplot as plt

    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=((4.6 if columns > 1 else 5.6) * columns, 3.8 * rows),
        squeeze=False,
        layout="constrained",
    )
    axes = axes.ravel()
    for empty in axes[count:]:
        figure.delaxes(empty)
    return axes[:count]


def as_axes(axes: Any, count: int) -> NDArray:
    """Axes as a flat array; ValueError if there are too few."""
    axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    if len(axes) < count:
        raise ValueError(f"axes: got {len(axes)}, expected {count}")
    return axes[:count]
