"""SearchResult: what a search found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastnn._table import table_lines
from fastnn.search.space import Space
from fastnn.search.trial import Trial


@dataclass(frozen=True)
class SearchResult:
    """All trials of a search, and the best of them.

    Attributes
    ----------
    trials : tuple of Trial
        By number; with successive halving a trial comes once for each rung that it reached.
    metric : str
    maximize : bool
    spaces : tuple of Space
        What was searched: one for each stage of `coarse_to_fine`, else one.
    notes : tuple of str
        Which ranges were taken in log space, and what `coarse_to_fine` did at borders.
    kind : str
        ``"random_search"``, ``"grid_search"`` or ``"coarse_to_fine"``.
    """

    trials: tuple[Trial, ...]
    metric: str
    maximize: bool
    spaces: tuple[Space, ...]
    notes: tuple[str, ...] = ()
    kind: str = "random_search"

    @property
    def best(self) -> Trial:
        """The trial with the best score among those that were trained for longest.

        A score after one epoch does not compete with one after ten: only successive halving and
        `coarse_to_fine` have trials of different lengths, and their last stage is chosen by the
        ones before. Of equal scores the first.

        Raises
        ------
        ValueError
            If every trial diverged.
        """
        finished = [trial for trial in self.trials if trial.score is not None]
        if not finished:
            raise ValueError(
                f"all {len(self.trials)} trials diverged; lower the learning rates of the space"
            )
        longest = max(trial.epochs for trial in finished)
        return ranked([t for t in finished if t.epochs == longest], self.maximize)[0]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts and lists: the same for every executor, worker count and run.

        How long trials took is not in it; see the ``seconds`` of a `Trial`.

        Returns
        -------
        dict
        """
        return {
            "kind": self.kind,
            "metric": self.metric,
            "maximize": self.maximize,
            "spaces": [
                {name: str(dimension) for name, dimension in space.items()} for space in self.spaces
            ],
            "notes": list(self.notes),
            "best": None if self._all_diverged() else self.best.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
        }

    def to_dataframe(self) -> Any:
        """A pandas DataFrame, a row a trial.

        Returns
        -------
        DataFrame

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas, which is not installed") from error
        return pandas.DataFrame(
            [
                {
                    "number": trial.number,
                    "stage": trial.stage,
                    "epochs": trial.epochs,
                    **trial.params,
                    "status": trial.status,
                    "score": math.nan if trial.score is None else trial.score,
                    "reason": trial.reason,
                    "seconds": trial.seconds,
                }
                for trial in self.trials
            ]
        )

    def _all_diverged(self) -> bool:
        return all(trial.score is None for trial in self.trials)

    def __str__(self) -> str:
        """A table of the ten best trials, and what is to be known about the search."""
        diverged = sum(trial.status == "diverged" for trial in self.trials)
        lines = [f"{self.kind}: {len(self.trials)} trials, {diverged} diverged"]
        lines += [f"  {note}" for note in self.notes]
        names = list(self.spaces[0])
        rows = [["trial", "epochs", self.metric, *names]]
        finished = [trial for trial in self.trials if trial.score is not None]
        for trial in ranked(finished, self.maximize, by_epochs=True)[:10]:
            score = f"{trial.score:.4f}"
            rows.append(
                [str(trial.number), str(trial.epochs), score]
                + [shown(trial.params[name]) for name in names]
            )
        table, _ = table_lines(rows, [True] * len(rows[0]))
        return "\n".join([*lines, *table])

    __repr__ = __str__

    def plot(self, x: str | None = None, y: str | None = None, axes: Any = None) -> Any:
        """Draws the course's scatter, then the marginal effect of each hyperparameter.

        Parameters
        ----------
        x, y : str, optional
            Hyperparameters of the scatter; by default the learning rate and the regularization (the
            first two on a log scale, else the first two on any scale).
        axes : sequence of matplotlib Axes, optional
            One for the scatter and one for each hyperparameter that varies.

        Returns
        -------
        ndarray of Axes
        """
        from fastnn.search import plots

        return plots.plot(self, x, y, axes)

    def plot_scatter(self, x: str | None = None, y: str | None = None, ax: Any = None) -> Any:
        """Draws the scores over two hyperparameters; diverged trials are crosses.

        Parameters
        ----------
        x, y : str, optional
            Hyperparameters; by default as in `plot`.
        ax : matplotlib Axes, optional

        Returns
        -------
        Axes
        """
        from fastnn.search import plots

        return plots.plot_scatter(self, x, y, ax)

    def plot_marginals(self, axes: Any = None) -> Any:
        """Draws the scores over each hyperparameter, with the best and the median along it.

        A title tells how much a hyperparameter explains: the share of the variance of the scores'
        ranks that lies between bins of its values, 1 - (1 - R^2) (n - 1) / (n - bins).

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            One for each hyperparameter that varies.

        Returns
        -------
        ndarray of Axes
        """
        from fastnn.search import plots

        return plots.plot_marginals(self, axes)

    def plot_random_versus_grid(
        self, x: str | None = None, y: str | None = None, axes: Any = None
    ) -> Any:
        """Shows why random trials beat a grid, on these trials.

        Left a grid of as many trials, right random ones, each over the hyperparameter that matters
        most (by default) and another. Above each the score as it follows from the important one:
        the grid tries it at a few values only, random trials each at a value of their own.

        Parameters
        ----------
        x, y : str, optional
            Hyperparameters: the important one, and another.
        axes : array of matplotlib Axes, optional
            Two rows by two columns.

        Returns
        -------
        ndarray of Axes
            Two rows (the score, the trials) by two columns (grid, random).

        References
        ----------
        Bergstra and Bengio, Random search for hyper-parameter optimization, 2012, figure 1.
        """
        from fastnn.search import plots

        return plots.plot_random_versus_grid(self, x, y, axes)


def ranked(trials: Sequence[Trial], maximize: bool, by_epochs: bool = False) -> list[Trial]:
    """Trials from best to worst; diverged ones last, equal ones by number.

    With `by_epochs` those that were trained longer come first.
    """

    def key(trial: Trial) -> tuple:
        score = math.inf if trial.score is None else -trial.score if maximize else trial.score
        return (-trial.epochs if by_epochs else 0, score, trial.number, trial.stage)

    return sorted(trials, key=key)


def shown(value: Any) -> str:
    """A hyperparameter in a table."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return getattr(value, "__name__", str(value))
