"""Cross-validation of one choice of hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from fastnn._checks import whole
from fastnn.search.options import FoldOptions, with_options
from fastnn.search.runner import Runner
from fastnn.search.search import make_study, metric_name
from fastnn.search.trial import FoldResult, Task


@dataclass(frozen=True)
class CrossValidation:
    """What the folds gave.

    Attributes
    ----------
    folds : tuple of FoldResult
    metric : str
    """

    folds: tuple[FoldResult, ...]
    metric: str

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The score of each fold, None where it diverged."""
        return tuple(fold.score for fold in self.folds)

    @property
    def mean(self) -> float | None:
        """Mean of the scores; None if a fold diverged."""
        scores = self._finite_scores
        return None if scores is None else float(np.mean(scores))

    @property
    def std(self) -> float | None:
        """Standard deviation of the scores (population's); None if a fold diverged."""
        scores = self._finite_scores
        return None if scores is None else float(np.std(scores))

    @property
    def _finite_scores(self) -> list[float] | None:
        """The scores if every fold has one."""
        scores = [score for score in self.scores if score is not None]
        return scores if len(scores) == len(self.folds) else None

    def __str__(self) -> str:
        shown = ", ".join("diverged" if s is None else f"{s:.4f}" for s in self.scores)
        mean = "" if self.mean is None else f"{self.mean:.4f} +- {self.std:.4f} "
        return f"{self.metric} {mean}({shown})"


@with_options(FoldOptions)
def cross_validate(
    build: Callable[[dict[str, Any]], Any],
    params: Mapping[str, Any],
    X: Any,
    y: Any,
    epochs: int = 10,
    **options: Unpack[FoldOptions],
) -> CrossValidation:
    """Trains once for each fold, on all others, and measures on that one.

    Folds run side by side. Preprocessing is fitted inside each fold: it never sees the rows that
    are held out.

    Parameters
    ----------
    build : callable
        As in `random_search`.
    params : dict
        What `build` gets.
    X, y, epochs, cv, groups, preprocessing, metric, maximize, batch_size, seed
        As in `random_search`.
    early_stopping, executor, workers, progress
        As in `random_search`.

    Returns
    -------
    CrossValidation

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn, optim, preprocessing
    >>> X, y = fastnn.datasets.digits()
    >>> def build(params):
    ...     model = nn.Sequential(nn.Linear(64, 10))
    ...     return model, nn.CrossEntropyLoss(), optim.SGD(lr=params["lr"])
    >>> result = fastnn.search.cross_validate(
    ...     build, {"lr": 0.1}, X, y, epochs=3, cv=4, preprocessing=preprocessing.Standardize())
    >>> len(result.scores), result.mean > 0.9
    (4, True)
    """
    epochs = whole("epochs", epochs, 1)
    if not isinstance(params, Mapping):
        raise TypeError(
            f"cross_validate: got {type(params).__name__} as params, expected a dict for `build`"
        )
    study = make_study(build, X, y, options)
    tasks = [Task(0, dict(params), epochs, fold=fold) for fold in range(len(study.splits))]
    with Runner(study, options, None, len(tasks)) as runner:
        trials = runner.run(tasks)
    return CrossValidation(tuple(trial.folds[0] for trial in trials), metric_name(study))
