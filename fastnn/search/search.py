"""Random and grid search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from fastnn._checks import to_array, whole
from fastnn._version import __version__
from fastnn.search.fold import Metric
from fastnn.search.halving import as_halving
from fastnn.search.journal import Journal, described, described_code, fingerprint
from fastnn.search.options import FoldOptions, RandomSearchOptions, SearchOptions, with_options
from fastnn.search.result import SearchResult
from fastnn.search.runner import Runner
from fastnn.search.space import Choice, Space
from fastnn.search.splits import make_splits
from fastnn.search.study import Study, transformers
from fastnn.search.trial import Task

PATIENCE = 5


@with_options(RandomSearchOptions)
def random_search(
    build: Callable[[dict[str, Any]], Any],
    space: Mapping[str, Any],
    X: Any,
    y: Any,
    n_trials: int = 20,
    epochs: int = 10,
    **options: Unpack[RandomSearchOptions],
) -> SearchResult:
    """Trains with hyperparameters drawn at random, and tells which did best.

    Trial i draws its hyperparameters, its initial weights and the order of its examples from the
    seed and i alone. The result is the same, bit by bit, for every executor and number of workers
    on machines with the same instruction set.

    Parameters
    ----------
    build : callable
        Takes a dict of hyperparameters, returns (model, loss, optimizer) or a `fastnn.Trainer`,
        new ones at each call.
        What it draws from fastnn (initial weights) is the trial's own.
    space : mapping of name to dimension
        A distribution (of SciPy, or anything with ``rvs(random_state=generator)``), a list to
        choose from, or a range (low, high): of whole numbers if both are, both included. The range
        of a learning rate or regularization (a name that is, or ends after an underscore in, lr,
        learning_rate, weight_decay, reg, regularization, l1, l2, lambda or lam) is taken in log
        space; the result's ``notes`` say so.
    X, y : arrays, or tuples or dicts of arrays
        Examples along axis 0.
    n_trials : int, default=20
    epochs : int, default=10
        How long a trial trains at most.
    cv : int, splitter or iterable, optional
        Number of folds (5 by default), stratified where y are labels; or an object with
        scikit-learn's ``split(X, y, groups)``; or pairs of row numbers (train on, measure on). A
        trial trains once for each and scores the mean.
    validation : (X, y) or float, optional
        Data to measure on, or the share of X and y that is set aside for it, instead of `cv`.
    groups : array of shape (N,), optional
        With a number as `cv` no group is torn between folds.
    preprocessing : object, class, function or list of them, optional
        With ``fit`` and ``transform``, or making such an object: `fastnn.preprocessing`,
        scikit-learn's. In each fold a new copy learns from the rows to train on and from no others.
    metric : "accuracy", "loss" or callable, optional
        By default the accuracy for labels, else the loss. A callable gets (targets, predictions).
    maximize : bool, optional
        Whether larger is better; by default it is, but for a loss.
    batch_size : int, default=64
    seed : int, default=0
    early_stopping : bool or int, default=True
        Ends a training whose metric has not improved for 5 (or so many) epochs, and scores its best
        epoch. With False the last epoch is scored.
    halving : bool, int or SuccessiveHalving, optional
        Trains all trials for a few epochs and only the best for all; a number is the factor.
    executor : concurrent.futures.Executor, optional
        Where trials run: a ``ProcessPoolExecutor``, Dask's ``client.get_executor()``, an
        ``MPIPoolExecutor``. X and y are sent along with each trial; `build` must be picklable, for
        the first a function of a module. By default threads of this process.
    workers : int, optional
        How many trials are under way at once; each computes on one thread. By default as many as
        `fastnn.get_num_threads`; for an executor twice as many as it has workers.
    journal : path, optional
        A file to which each finished trial is appended as a line of JSON. A search that finds its
        own journal goes on from there; with the code of `build` changed it is another search (what
        `build` calls is not looked at).
    progress : bool, optional
        Whether to show a progress bar; by default where the standard error is a terminal.

    Returns
    -------
    SearchResult

    Raises
    ------
    ValueError, TypeError
        For arguments that don't fit, with what was expected. Errors of `build` and of the training
        end the search and carry a note with the trial's hyperparameters; a loss that diverges does
        not: it is NaN, infinite, or three times the first one.

    References
    ----------
    Bergstra and Bengio, Random search for hyper-parameter optimization, 2012.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn, optim, preprocessing
    >>> X, y = fastnn.datasets.digits()
    >>> def build(params):
    ...     model = nn.Sequential(nn.Linear(64, params["hidden"]), nn.ReLU(),
    ...                           nn.Linear(params["hidden"], 10))
    ...     return model, nn.CrossEntropyLoss(), optim.SGD(lr=params["lr"], momentum=0.9)
    >>> result = fastnn.search.random_search(
    ...     build, {"lr": (1e-4, 1.0), "hidden": [16, 32]}, X, y, n_trials=6, epochs=3,
    ...     validation=0.2, preprocessing=preprocessing.Standardize)
    >>> result.best.score > 0.9
    True
    >>> result.notes
    ('lr: the range 0.0001 to 1 is taken in log space',)
    """
    dimensions = Space(space)
    n_trials, epochs = whole("n_trials", n_trials, 1), whole("epochs", epochs, 1)
    by_halves = as_halving(options["halving"])
    study = make_study(build, X, y, options, options["validation"])
    # Without halving a journal serves a longer search too: its trials are the first ones.
    rest = {} if by_halves is None else {"halving": described(by_halves), "n_trials": n_trials}
    journal = open_journal(
        options, "random_search", study, epochs=epochs, space=dimensions.describe(), **rest
    )
    tasks = [Task(i, dimensions.sample(study.draws(i)), epochs) for i in range(n_trials)]
    total = n_trials
    if by_halves is not None:
        total = sum(count for count, _ in by_halves.rungs(n_trials, epochs))
    larger = study.metric.larger_is_better(study.y)
    with Runner(study, options, journal, total) as runner:
        runner.bar.say(dimensions.notes)
        if by_halves is None:
            trials = runner.run(tasks)
        else:
            trials = by_halves.run(tasks, epochs, larger, runner.run)
    return SearchResult(
        tuple(trials), metric_name(study), larger, (dimensions,), tuple(dimensions.notes)
    )


@with_options(SearchOptions)
def grid_search(
    build: Callable[[dict[str, Any]], Any],
    space: Mapping[str, Any],
    X: Any,
    y: Any,
    n_trials: int | None = None,
    epochs: int = 10,
    **options: Unpack[SearchOptions],
) -> SearchResult:
    """Trains with every combination of some values of each hyperparameter.

    Parameters
    ----------
    build : callable
        As in `random_search`.
    space : mapping of name to dimension
        Of a list every value is tried. Ranges and distributions get as many evenly spaced values
        (in log space where they are in log space) as `n_trials` allows, the same number each.
    X, y : arrays, or tuples or dicts of arrays
        As in `random_search`.
    n_trials : int, optional
        Combinations at most; can be left out if all dimensions are lists.
    epochs, cv, validation, groups, preprocessing, metric, maximize, batch_size
        As in `random_search`.
    seed, early_stopping, executor, workers, journal, progress
        As in `random_search`.

    Returns
    -------
    SearchResult
        The last hyperparameter of the space changes from trial to trial, the first slowest.

    Raises
    ------
    ValueError
        If `n_trials` is too small for the lists, is missing, or a dimension has no scale.

    Examples
    --------
    >>> from fastnn.search import Space
    >>> from fastnn.search.search import grid
    >>> [params["lr"] for params in grid(Space({"lr": (1e-3, 1e-1), "l2": [0, 1e-4]}), 6)]
    [0.001, 0.001, 0.01, 0.01, 0.1, 0.1]
    """
    dimensions = Space(space)
    epochs = whole("epochs", epochs, 1)
    combinations = grid(dimensions, n_trials)
    study = make_study(build, X, y, options, options["validation"])
    journal = open_journal(
        options,
        "grid_search",
        study,
        epochs=epochs,
        space=dimensions.describe(),
        n_trials=len(combinations),
    )
    tasks = [Task(i, params, epochs) for i, params in enumerate(combinations)]
    with Runner(study, options, journal, len(tasks)) as runner:
        runner.bar.say(dimensions.notes)
        trials = runner.run(tasks)
    return SearchResult(
        tuple(trials),
        metric_name(study),
        study.metric.larger_is_better(study.y),
        (dimensions,),
        tuple(dimensions.notes),
        "grid_search",
    )


def grid(space: Space, n_trials: int | None) -> list[dict[str, Any]]:
    """The combinations of a grid of at most `n_trials` points."""
    fixed = math.prod(len(d.values) for d in space.values() if isinstance(d, Choice))
    scales = [name for name, d in space.items() if not isinstance(d, Choice)]
    without = [name for name in scales if not space[name].has_scale]
    if without:
        raise ValueError(
            f"grid_search: {', '.join(without)}: got a distribution with rvs alone, expected a "
            "list, a range, or a distribution with ppf and cdf"
        )
    points = 1
    if scales and n_trials is None:
        raise ValueError(
            f"grid_search: got no n_trials, expected a number: {', '.join(scales)} are ranges"
        )
    if n_trials is not None:
        whole("n_trials", n_trials, 1)
        if fixed > n_trials:
            raise ValueError(
                f"grid_search: got n_trials={n_trials}, expected {fixed} or more: the lists alone "
                "have so many combinations"
            )
        while scales and fixed * (points + 1) ** len(scales) <= n_trials:
            points += 1
    values = [dimension.points(points) for dimension in space.values()]
    return [dict(zip(space, combination)) for combination in itertools.product(*values)]


def make_study(
    build: Callable[[dict[str, Any]], Any],
    X: Any,
    y: Any,
    options: FoldOptions,
    validation: Any = None,
) -> Study:
    """The study of a search's arguments, checked."""
    if not callable(build):
        raise TypeError(
            f"build: got {type(build).__name__}, expected a function of a dict of hyperparameters"
        )
    seed = whole("seed", options["seed"], 0)
    early_stopping, preprocessing = options["early_stopping"], options["preprocessing"]
    if isinstance(early_stopping, bool):
        patience = PATIENCE if early_stopping else None
    else:
        patience = whole("early_stopping", early_stopping, 1)
    if isinstance(validation, (tuple, list)):
        validation = tuple(as_arrays(part) for part in validation)
    transformers(preprocessing)  # errors in it are the caller's to see, before any trial
    X, y, splits = make_splits(
        as_arrays(X), as_arrays(y), options["cv"], validation, options["groups"], seed
    )
    return Study(
        build,
        X,
        y,
        splits,
        preprocessing,
        Metric(options["metric"], options["maximize"]),
        whole("batch_size", options["batch_size"], 1),
        patience,
        seed,
    )


def as_arrays(data: Any) -> Any:
    """What a user gave as an array, or as a tuple or dict of arrays."""
    if isinstance(data, dict):
        return {key: as_arrays(item) for key, item in data.items()}
    if isinstance(data, tuple):
        return tuple(as_arrays(item) for item in data)
    array = to_array(data)
    if array.ndim == 0:
        raise ValueError(f"got {array!r} as data, expected arrays with examples along axis 0")
    return array


def open_journal(options: SearchOptions, kind: str, study: Study, **rest: Any) -> Journal | None:
    """The journal of a search, with what determines the search's trials; None without a path."""
    path = options["journal"]
    if path is None:
        return None
    return Journal(
        path,
        {
            "search": kind,
            "fastnn": __version__,
            "seed": study.seed,
            "build": described_code(study.build),
            "metric": study.metric.name,
            "maximize": study.metric.larger_is_better(study.y),
            "preprocessing": described(study.preprocessing),
            "batch_size": study.batch_size,
            "patience": study.patience,
            "data": fingerprint(study.X, study.y),
            "splits": fingerprint(study.splits),
            **rest,
        },
    )


def metric_name(study: Study) -> str:
    """What the score is, with None resolved."""
    if study.metric.given is None:
        return "accuracy" if study.metric.larger_is_better(study.y) else "loss"
    return study.metric.name
