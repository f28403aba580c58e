"""Successive halving: many trials for a few epochs, the best of them for more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fastnn._checks import whole
from fastnn.search.result import ranked
from fastnn.search.trial import Task, Trial


@dataclass(frozen=True)
class SuccessiveHalving:
    """Trains all trials briefly, then the best ``1 / factor`` of them ``factor`` times as long, ...

    With R epochs at most, r at least, n trials and the factor f, there are

        s = floor(log_f(R / r))     rungs after the first, at most log_f(n) of them;
        rung k has floor(n / f^k) trials of floor(R / f^(s - k)) epochs.

    A trial's seed is its own, so a longer training begins with exactly the shorter one; it is run
    again rather than kept, and a worker needs nothing from the one before.

    Parameters
    ----------
    factor : int, default=3
    min_epochs : int, default=1
        r above.

    References
    ----------
    Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization,
    2016, algorithm 1.

    Examples
    --------
    >>> from fastnn.search import SuccessiveHalving
    >>> SuccessiveHalving(factor=3).rungs(n_trials=27, epochs=9)
    [(27, 1), (9, 3), (3, 9)]
    """

    factor: int = 3
    min_epochs: int = 1

    def __post_init__(self) -> None:
        whole("factor", self.factor, 2, where="SuccessiveHalving: ")
        whole("min_epochs", self.min_epochs, 1, where="SuccessiveHalving: ")

    def rungs(self, n_trials: int, epochs: int) -> list[tuple[int, int]]:
        """How many trials of how many epochs each rung has.

        Parameters
        ----------
        n_trials, epochs : int
            Trials of the first rung, epochs of the last.

        Returns
        -------
        list of (int, int)
        """
        last = 0
        while epochs >= self.min_epochs * self.factor ** (last + 1) and n_trials >= self.factor ** (
            last + 1
        ):
            last += 1
        return [
            (n_trials // self.factor**rung, epochs // self.factor ** (last - rung))
            for rung in range(last + 1)
        ]

    def run(
        self,
        tasks: Sequence[Task],
        epochs: int,
        maximize: bool,
        run: Callable[[list[Task]], list[Trial]],
    ) -> list[Trial]:
        """All trials of all rungs, by rung and number; `run` runs the tasks of one."""
        trials: list[Trial] = []
        survivors = list(tasks)
        for rung, (count, rung_epochs) in enumerate(self.rungs(len(tasks), epochs)):
            if rung:
                finished = [trial for trial in trials[-len(survivors) :] if trial.score is not None]
                kept = {trial.number for trial in ranked(finished, maximize)[:count]}
                survivors = [task for task in survivors if task.number in kept]
                if not survivors:
                    break
            trials += run(
                [replace(task, epochs=rung_epochs, stage=rung) for task in survivors],
            )
        return trials


def as_halving(given: bool | int | SuccessiveHalving | None) -> SuccessiveHalving | None:
    """What a user gave for `halving`."""
    if given is None or given is False:
        return None
    if given is True:
        return SuccessiveHalving()
    if isinstance(given, SuccessiveHalving):
        return given
    return SuccessiveHalving(whole("halving", given, 2))
