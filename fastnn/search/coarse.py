"""From coarse to fine: short trials over wide ranges, then longer ones where the best were."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from fastnn._checks import whole
from fastnn.search.options import SearchOptions, with_options
from fastnn.search.result import SearchResult, ranked
from fastnn.search.runner import Runner
from fastnn.search.search import make_study, metric_name, open_journal
from fastnn.search.space import Choice, Dimension, Space
from fastnn.search.trial import Task, Trial

# The next range holds the best quarter of the trials, and a tenth of the old range on either side,
# but no more than half of the old range.
BEST_SHARE = 0.25
LEAST_BEST = 3
MARGIN = 0.1
REACH = 0.25
# A best value so close to an end of its range, as a share of the range, says that better values may
# lie beyond.
BORDER = 0.05


class RangeWarning(UserWarning):
    """The best value of a hyperparameter lies at the border of its range."""


@with_options(SearchOptions)
def coarse_to_fine(
    build: Callable[[dict[str, Any]], Any],
    space: Mapping[str, Any],
    X: Any,
    y: Any,
    stages: Sequence[tuple[int, int]] = ((20, 1), (10, 3), (5, 10)),
    **options: Unpack[SearchOptions],
) -> SearchResult:
    """Searches at random in stages, each over ranges narrowed around the best of the one before.

    After a stage each range becomes that of the best quarter of the stage's trials with a tenth of
    the range on either side, half the range at most around the best value: in log space where the
    range is. Where the best value lies within a twentieth of an end, the range goes on beyond that
    end, with a warning. Of a list the values of the best quarter stay.

    Parameters
    ----------
    build, space, X, y
        As in `random_search`.
    stages : sequence of (n_trials, epochs), default=((20, 1), (10, 3), (5, 10))
        Short runs of many trials first, long ones of a few last. Trials are numbered through all
        of them.
    cv, validation, groups, preprocessing, metric, maximize, batch_size, seed
        As in `random_search`.
    early_stopping, executor, workers, journal, progress
        As in `random_search`.

    Returns
    -------
    SearchResult
        ``spaces`` has the ranges of each stage, ``best`` is of the longest trials.

    Warns
    -----
    RangeWarning
        Where the best value lies at the border of a range, or a whole stage diverged.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn, optim
    >>> X, y = fastnn.datasets.digits()
    >>> def build(params):
    ...     model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    ...     return model, nn.CrossEntropyLoss(), optim.SGD(lr=params["lr"], momentum=0.9)
    >>> result = fastnn.search.coarse_to_fine(
    ...     build, {"lr": (1e-5, 10.0)}, X / 16, y, stages=[(8, 1), (4, 3)], validation=0.2)
    >>> coarse, fine = (space["lr"] for space in result.spaces)
    >>> fine.high / fine.low < coarse.high / coarse.low
    True
    >>> result.best.epochs
    3
    """
    current = Space(space)
    plan = check_stages(stages)
    study = make_study(build, X, y, options, options["validation"])
    journal = open_journal(options, "coarse_to_fine", study, stages=plan, space=current.describe())
    larger = study.metric.larger_is_better(study.y)
    spaces, notes = [current], list(current.notes)
    trials: list[Trial] = []
    stage_trials: list[Trial] = []
    total = sum(n_trials for n_trials, _ in plan)
    with Runner(study, options, journal, total) as runner:
        runner.bar.say(notes)
        for stage, (n_trials, epochs) in enumerate(plan):
            if stage:
                current, said = narrowed(current, stage_trials, larger)
                for note in said:
                    warnings.warn(f"stage {stage - 1}: {note}", RangeWarning, stacklevel=3)
                notes += [f"stage {stage - 1}: {note}" for note in said]
                spaces.append(current)
            numbers = range(len(trials), len(trials) + n_trials)
            stage_trials = runner.run(
                [Task(i, current.sample(study.draws(i)), epochs, stage) for i in numbers]
            )
            trials += stage_trials
    return SearchResult(
        tuple(trials), metric_name(study), larger, tuple(spaces), tuple(notes), "coarse_to_fine"
    )


def check_stages(stages: Any) -> list[tuple[int, int]]:
    """Stages as pairs of whole numbers."""
    stages = list(stages)
    if not stages or not all(isinstance(s, (tuple, list)) and len(s) == 2 for s in stages):
        raise ValueError(f"stages: got {stages!r}, expected pairs (n_trials, epochs), one or more")
    return [
        (
            whole("n_trials", n_trials, 1, where=f"stage {number}: "),
            whole("epochs", epochs, 1, where=f"stage {number}: "),
        )
        for number, (n_trials, epochs) in enumerate(stages)
    ]


def narrowed(space: Space, trials: Sequence[Trial], maximize: bool) -> tuple[Space, list[str]]:
    """The space around the best trials, and what is to be said about its borders."""
    finished = [trial for trial in trials if trial.score is not None]
    if not finished:
        return space, [f"all {len(trials)} trials diverged, so that no range could be narrowed"]
    order = ranked(finished, maximize)
    best = order[: max(LEAST_BEST, math.ceil(BEST_SHARE * len(order)))]
    dimensions: dict[str, Dimension] = {}
    notes = []
    for name, dimension in space.items():
        values = [trial.params[name] for trial in best]
        if isinstance(dimension, Choice):
            kept = tuple(value for value in dimension.values if value in values)
            dimensions[name] = Choice(kept)
        elif dimension.has_scale:
            dimensions[name], note = narrowed_range(name, dimension, values)
            notes += note
        else:
            dimensions[name] = dimension
    return Space(dimensions), notes


def narrowed_range(
    name: str, dimension: Dimension, values: Sequence[Any]
) -> tuple[Dimension, list[str]]:
    """The part of a range around `values`, of which the first is the best."""
    positions = [dimension.position(value) for value in values]
    best = positions[0]
    low = max(min(positions) - MARGIN, best - REACH)
    high = min(max(positions) + MARGIN, best + REACH)
    if BORDER <= best <= 1 - BORDER:
        return dimension.part(max(low, 0.0), min(high, 1.0)), []
    if best < BORDER:
        end = "lower"
        low, high = best - REACH, min(high, 1.0)
    else:
        end = "upper"
        low, high = max(low, 0.0), best + REACH
    part = dimension.part(low, high)
    return part, [
        f"the best {name}, {values[0]:.4g}, lies at the {end} border of its range ({dimension}); "
        f"the next is {part}"
    ]
