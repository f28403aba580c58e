"""Hyperparameter search: random, on a grid, from coarse to fine; cross-validation.

    build, space ──draw──▶ Task ──executor──▶ Trial ──▶ journal, SearchResult
                   seed, i          a Study runs it: each fold prepared, trained, measured

space.py             what may be tried: dimensions that are drawn from, laid in a grid, narrowed
splits.py            which rows are trained on and which are measured on
study.py             what all trials share; it goes to other processes along with each task
fold.py              one training: divergence, early stopping
trial.py             a task and what came of it
runner.py            threads or any executor; progress
journal.py           a line of JSON a trial, to go on after a kill
search.py            random_search, grid_search
halving.py           successive halving
coarse.py            coarse_to_fine
cross_validation.py  cross_validate
result.py, plots.py  SearchResult and its pictures

Trial i depends on the seed and i alone: everything it draws comes from generators of its own,
losses are looked at after fixed numbers of batches, and kernels give the same bits at any number of
threads. So nothing has to be exchanged between workers, and the executor may be anybody's.
"""

from fastnn.search.coarse import RangeWarning, coarse_to_fine
from fastnn.search.cross_validation import CrossValidation, cross_validate
from fastnn.search.halving import SuccessiveHalving
from fastnn.search.result import SearchResult
from fastnn.search.search import grid_search, random_search
from fastnn.search.space import Space
from fastnn.search.splits import GroupKFold, KFold, StratifiedKFold
from fastnn.search.trial import FoldResult, Trial

__all__ = [
    "CrossValidation",
    "FoldResult",
    "GroupKFold",
    "KFold",
    "RangeWarning",
    "SearchResult",
    "Space",
    "StratifiedKFold",
    "SuccessiveHalving",
    "Trial",
    "coarse_to_fine",
    "cross_validate",
    "grid_search",
    "random_search",
]
