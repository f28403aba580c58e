"""Which rows a trial trains on, and which it is measured on.

Splits are made once for a search, before any trial, so that all trials are judged by the same rows.
A splitter is any object with scikit-learn's ``split(X, y, groups)``; three small ones are here, so
that nothing needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array, whole
from fastnn._compiler.trace import flatten_structure
from fastnn.datasets import train_test_split
from fastnn.search.fold import are_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Split = tuple[np.ndarray, np.ndarray]


class KFold:
    """Parts of equal size, each held out once.

    Parameters
    ----------
    n_splits : int, default=5
    seed : int, default=0
        Of the shuffling before the rows are dealt out.

    Raises
    ------
    ValueError
        If `n_splits` is no whole number of 2 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.search import KFold
    >>> [len(held) for _, held in KFold(3).split(np.zeros((10, 2)))]
    [4, 3, 3]
    """

    def __init__(self, n_splits: int = 5, seed: int = 0):
        self.n_splits = whole("n_splits", n_splits, 2, where=f"{type(self).__name__}: ")
        self.seed = seed

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_splits={self.n_splits}, seed={self.seed})"

    def split(
        self, X: Sized, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[Split]:
        """The rows of each training.

        Parameters
        ----------
        X : array_like
            Only its length counts.
        y : array_like, optional
            Labels, where classes are to have the same share.
        groups : array_like, optional
            Which rows belong together.

        Yields
        ------
        train, held : ndarray of int
            Rows to train on and rows held out, each in rising order.

        Raises
        ------
        ValueError
            If there are fewer rows (classes' members, groups) than parts.
        """
        rows = np.arange(len(X))
        parts = self.parts(len(X), y, groups, np.random.default_rng(self.seed))
        for part in range(self.n_splits):
            held = parts == part
            yield rows[~held], rows[held]

    def parts(self, count: int, y: Any, groups: Any, rng: np.random.Generator) -> NDArray:
        """The number of each row's part."""
        if count < self.n_splits:
            raise ValueError(f"{self}: got {count} examples, expected {self.n_splits} or more")
        return rng.permutation(np.arange(count) % self.n_splits)


class StratifiedKFold(KFold):
    """Parts in which each class has the same share, to within one example.

    Parameters
    ----------
    n_splits : int, default=5
    seed : int, default=0

    Raises
    ------
    ValueError
        If `n_splits` is no whole number of 2 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.search import StratifiedKFold
    >>> y = np.array([0] * 6 + [1] * 3)
    >>> [y[held].tolist() for _, held in StratifiedKFold(3).split(y, y)]
    [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    """

    def parts(self, count: int, y: Any, groups: Any, rng: np.random.Generator) -> NDArray:
        if y is None or np.ndim(y) != 1:
            raise ValueError(f"{self}: expected labels y of shape (N,), got shape {np.shape(y)}")
        classes, labels, counts = np.unique(y, return_inverse=True, return_counts=True)
        if counts.min() < self.n_splits:
            rare = classes[counts.argmin()]
            raise ValueError(
                f"{self}: got {counts.min()} examples of class {rare}, expected "
                f"{self.n_splits} or more of each"
            )
        # Dealt out class after class without a break, so that the parts are of equal size too.
        order = np.lexsort((rng.random(count), labels))
        parts = np.empty(count, np.int64)
        parts[order] = np.arange(count) % self.n_splits
        return parts


class GroupKFold(KFold):
    """Parts that no group is torn between: all rows of a group are held out together.

    Groups go, largest first, each to the part with the fewest rows so far.

    Parameters
    ----------
    n_splits : int, default=5
    seed : int, default=0
        Decides between groups of equal size.

    Raises
    ------
    ValueError
        If `n_splits` is no whole number of 2 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.search import GroupKFold
    >>> patients = np.array([7, 7, 8, 8, 9, 9])
    >>> sorted(patients[held].tolist() for _, held in GroupKFold(3).split(patients, None, patients))
    [[7, 7], [8, 8], [9, 9]]
    """

    def parts(self, count: int, y: Any, groups: Any, rng: np.random.Generator) -> NDArray:
        if groups is None or np.shape(groups) != (count,):
            raise ValueError(
                f"{self}: expected groups of shape ({count},), got shape {np.shape(groups)}"
            )
        names, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
        if len(names) < self.n_splits:
            raise ValueError(f"{self}: got {len(names)} groups, expected {self.n_splits} or more")
        part_of = np.empty(len(names), np.int64)
        filled = np.zeros(self.n_splits, np.int64)
        for group in np.lexsort((rng.random(len(names)), -counts)):
            part_of[group] = filled.argmin()
            filled[part_of[group]] += counts[group]
        return part_of[members]


def make_splits(
    X: Any, y: Any, cv: Any, validation: Any, groups: Any, seed: int
) -> tuple[Any, Any, list[Split]]:
    """X, y and the splits of them.

    Validation data that the user gave are appended to X and y, as rows to measure on.

    Raises
    ------
    ValueError
        If both `cv` and `validation` are given, or the rows don't fit the data.
    """
    count = count_examples(X, y)
    if validation is None:
        return X, y, by_splitter(X, y, count, 5 if cv is None else cv, groups, seed)
    if cv is not None:
        raise ValueError("got cv and validation, expected one of them")
    if isinstance(validation, (tuple, list)):
        if len(validation) != 2:
            raise ValueError(f"validation: got {len(validation)} items, expected (X, y) or a share")
        X_held, y_held = validation
        total = count + count_examples(X_held, y_held, "validation: ")
        return (
            append("X", X, X_held),
            append("y", y, y_held),
            [(np.arange(count), np.arange(count, total))],
        )
    rows = np.arange(count)
    stratify = are_labels(y) and np.unique(y, return_counts=True)[1].min() > 1
    labels = y if stratify else rows
    train, held, _, _ = train_test_split(rows, labels, validation, seed, stratify)
    return X, y, [(np.sort(train), np.sort(held))]


def by_splitter(X: Any, y: Any, count: int, cv: Any, groups: Any, seed: int) -> list[Split]:
    """The splits of a number of folds, of a splitter, or given as pairs of rows."""
    if isinstance(cv, str):
        raise TypeError(f"cv: got {cv!r}, expected a number, a splitter or pairs of row numbers")
    if hasattr(cv, "split"):
        pairs = cv.split(flatten_structure(X)[0], y, groups)
    elif isinstance(cv, Iterable):
        pairs = cv
    else:
        folds = whole("cv", cv, 2)
        if groups is not None:
            splitter: KFold = GroupKFold(folds, seed)
        elif are_labels(y):
            splitter = StratifiedKFold(folds, seed)
        else:
            splitter = KFold(folds, seed)
        pairs = splitter.split(flatten_structure(X)[0], y, groups)
    splits = [(to_array(rows), to_array(held)) for rows, held in pairs]
    if not splits:
        raise ValueError("cv: got no split, expected one or more")
    for number, split in enumerate(splits):
        for name, rows in zip(("train on", "measure on"), split, strict=True):
            if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
                raise ValueError(
                    f"cv: the rows to {name} of split {number} are of shape {rows.shape} and dtype "
                    f"{rows.dtype}, expected a list of row numbers that is not empty"
                )
            if rows.min() < 0 or rows.max() >= count:
                raise ValueError(
                    f"cv: split {number} has rows from {rows.min()} to {rows.max()}, expected 0 to "
                    f"{count - 1}"
                )
    return splits


def count_examples(X: Any, y: Any, where: str = "") -> int:
    """How many examples there are; ValueError unless X and y agree."""
    counts = [len(part) for part in [*flatten_structure(X), *flatten_structure(y)]]
    if len(set(counts)) != 1:
        raise ValueError(f"{where}got X and y of {counts} examples, expected as many in each")
    if counts[0] < 2:
        raise ValueError(f"{where}got {counts[0]} examples, expected two or more")
    return counts[0]


def append(name: str, first: Any, second: Any) -> Any:
    """Rows of both, for an array or each array of a structure."""
    if isinstance(first, dict):
        return {key: append(f"{name}[{key!r}]", item, second[key]) for key, item in first.items()}
    if isinstance(first, tuple):
        pairs = enumerate(zip(first, second, strict=True))
        return tuple(append(f"{name}[{index}]", *pair) for index, pair in pairs)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"validation: got {name} of shape {second.shape}, expected (N, "
            f"{', '.join(map(str, first.shape[1:]))}) as in training"
        )
    return np.concatenate([first, second])
