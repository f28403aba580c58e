"""Study: everything that a worker needs to know to run any trial of a search.

It is sent to other processes along with each task, so it holds plain data and what the user gave.
What is expensive and the same for every trial (the folds' data after preprocessing) is made once in
each process and kept by the study's token.
"""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn.config import num_threads
from fastnn.search.fold import Cancelled, Data, Metric, Rules, train_fold
from fastnn.search.splits import Split
from fastnn.search.trial import Task, Trial
from fastnn.training.data import convert, rows_of


def never() -> bool:
    """Of a worker elsewhere, whom nobody tells that the search is given up."""
    return False


class Study:
    """What all trials of a search share.

    Parameters
    ----------
    build : callable
        Takes a dict of hyperparameters and returns (model, loss, optimizer).
    X, y : arrays
    splits : sequence of (rows to train on, rows to measure on)
    preprocessing : see `random_search`
    metric : Metric
    batch_size : int
    patience : int or None
        Epochs without improvement after which a training ends; None: it never does.
    seed : int
    """

    def __init__(
        self,
        build: Callable[[dict[str, Any]], Any],
        X: Any,
        y: Any,
        splits: Sequence[Split],
        preprocessing: Any,
        metric: Metric,
        batch_size: int,
        patience: int | None,
        seed: int,
    ):
        self.build, self.X, self.y, self.splits = build, X, y, list(splits)
        self.preprocessing, self.metric = preprocessing, metric
        self.batch_size, self.patience, self.seed = batch_size, patience, seed
        # Names the prepared folds in whatever process they are made.
        self.token = np.random.default_rng().bytes(16)

    def draws(self, number: int) -> np.random.Generator:
        """The generator of a trial's hyperparameters."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))

    def run(self, task: Task, cancelled: Callable[[], bool] = never) -> Trial:
        """Runs a trial on one kernel thread.

        Errors of the user's own functions get a note with the trial's hyperparameters.
        """
        started = time.perf_counter()
        rules = Rules(self.metric, task.epochs, self.batch_size, self.patience)
        results = []
        try:
            with num_threads(1):
                for fold in range(len(self.splits)) if task.fold is None else [task.fold]:
                    result = train_fold(
                        self.build,
                        task.params,
                        functools.partial(PREPARED.get, self, fold),
                        rules,
                        np.random.SeedSequence(self.seed, spawn_key=(task.number, fold)),
                        cancelled,
                    )
                    results.append(result)
                    if result.diverged:
                        break
        except Cancelled:
            raise
        except Exception as error:
            error.add_note(f"in trial {task.number} with {task.params}")
            raise
        diverged = results[-1].diverged
        return Trial(
            task.number,
            task.params,
            task.epochs,
            task.stage,
            "diverged" if diverged else "finished",
            None if diverged else float(np.mean([result.score for result in results])),
            tuple(results),
            time.perf_counter() - started,
        )

    def prepare(self, fold: int) -> Data:
        """Data of a fold; preprocessing learns from the rows to train on and from no others."""
        rows, held = self.splits[fold]
        X, y, X_held = rows_of(self.X, rows), rows_of(self.y, rows), rows_of(self.X, held)
        for transformer in transformers(self.preprocessing):
            fit_on(transformer, X, y)
            X, X_held = transformer.transform(X), transformer.transform(X_held)
        return X, y, X_held, rows_of(self.y, held)


class PreparedFolds:
    """The folds of the study that this process worked on last, each made at its first use."""

    def __init__(self) -> None:
        self.token: bytes | None = None
        self.folds: dict[tuple[int, np.dtype], Data] = {}
        self.lock = threading.Lock()

    def get(self, study: Study, fold: int, dtype: np.dtype) -> Data:
        """A fold's data, inputs in a model's precision."""
        with self.lock:
            if self.token != study.token:
                self.token, self.folds = study.token, {}
            if (fold, dtype) not in self.folds:
                X, y, X_held, y_held = study.prepare(fold)
                self.folds[fold, dtype] = (
                    convert(X, dtype),
                    convert(y, None),
                    convert(X_held, dtype),
                    convert(y_held, None),
                )
            return self.folds[fold, dtype]

    def forget(self, study: Study) -> None:
        """Frees the memory at the end of a search."""
        with self.lock:
            if self.token == study.token:
                self.token, self.folds = None, {}


PREPARED = PreparedFolds()


def run_task(study: Study, task: Task) -> Trial:
    """`Study.run` as a function that can be sent to another process."""
    return study.run(task)


def transformers(preprocessing: Any) -> list[Any]:
    """New, unfitted transformers of what the user gave."""
    if preprocessing is None:
        return []
    if isinstance(preprocessing, (list, tuple)):
        return [part for item in preprocessing for part in transformers(item)]
    if isinstance(preprocessing, type) or not hasattr(preprocessing, "fit"):
        if not callable(preprocessing):
            raise TypeError(
                f"preprocessing: got {type(preprocessing).__name__}, expected an object with fit "
                "and transform, a function that makes one, or a list of them"
            )
        return transformers(preprocessing())
    if not hasattr(preprocessing, "transform"):
        raise TypeError(
            f"preprocessing: got {type(preprocessing).__name__} without transform, expected an "
            "object with fit and transform"
        )
    return [copy.deepcopy(preprocessing)]


def fit_on(transformer: Any, X: Any, y: Any) -> None:
    """``fit(X, y)`` where a transformer takes targets, as scikit-learn's do, else ``fit(X)``."""
    if "y" in inspect.signature(transformer.fit).parameters:
        transformer.fit(X, y)
    else:
        transformer.fit(X)
