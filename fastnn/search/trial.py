"""Trial: one choice of hyperparameters, and what came of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """What a worker is asked for. With the study's seed it determines the trial entirely.

    Parameters
    ----------
    number : int
        Of the trial, counted from 0 through all stages.
    params : dict
    epochs : int
        How long to train at most.
    stage : int
        Of `coarse_to_fine`, or the rung of successive halving.
    fold : int, optional
        The one fold to train; by default all, one after the other.
    """

    number: int
    params: dict[str, Any]
    epochs: int
    stage: int = 0
    fold: int | None = None


@dataclass(frozen=True)
class FoldResult:
    """One training of a trial: on all folds but one, measured on that one.

    Attributes
    ----------
    score : float or None
        The metric at the best epoch with early stopping, else at the last; None if it diverged.
    best_epoch : int or None
        The epoch of `score`, counted from 0.
    first_loss : float or None
        Before the first update; None if it was not finite, as in the tuples below.
    losses, val_losses, scores : tuple of float or None
        Loss on the training folds, loss and metric on the one held out, by epoch.
    stopped : str or None
        Why it ended before its last epoch.
    diverged : bool
    """

    score: float | None
    best_epoch: int | None
    first_loss: float | None
    losses: tuple[float | None, ...]
    val_losses: tuple[float | None, ...]
    scores: tuple[float | None, ...]
    stopped: str | None = None
    diverged: bool = False


@dataclass(frozen=True)
class Trial:
    """A choice of hyperparameters, and what came of it.

    Attributes
    ----------
    number : int
        Counted from 0 through all stages.
    params : dict
        Its hyperparameters.
    epochs : int
        How long it trained at most.
    stage : int
        Of `coarse_to_fine`, or the rung of successive halving.
    status : str
        ``"finished"`` or ``"diverged"``.
    score : float or None
        Mean of the folds' scores, or None if one diverged.
    folds : tuple of FoldResult
        After a fold that diverged there are none.
    seconds : float
        How long it took. Two trials are equal whatever it is.
    """

    number: int
    params: dict[str, Any]
    epochs: int
    stage: int
    status: str
    score: float | None
    folds: tuple[FoldResult, ...]
    seconds: float = field(default=0.0, compare=False)

    @property
    def reason(self) -> str | None:
        """Why the trial ended early, if it did: of its last fold."""
        return self.folds[-1].stopped if self.folds else None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the seconds, which no two runs share.

        Returns
        -------
        dict
        """
        return {
            "number": self.number,
            "params": dict(self.params),
            "epochs": self.epochs,
            "stage": self.stage,
            "status": self.status,
            "score": self.score,
            "folds": [asdict(fold) for fold in self.folds],
        }


def finite(value: float) -> float | None:
    """A number as Python's, or None for NaN and infinities, which JSON and ``==`` don't know."""
    value = float(value)
    return value if math.isfinite(value) else None
