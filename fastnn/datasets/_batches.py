"""Splitting data into training and test data, and walking through them in batches."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fastnn._checks import to_array
from fastnn.datasets._augment import Augment, images_to_augment

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@overload
def batches(
    X: ArrayLike,
    y: None = None,
    batch_size: int = 64,
    *,
    seed: int | np.random.Generator | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    augment: Augment | None = None,
) -> Iterator[NDArray[Any]]: ...


@overload
def batches(
    X: ArrayLike,
    y: ArrayLike,
    batch_size: int = 64,
    *,
    seed: int | np.random.Generator | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    augment: Augment | None = None,
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]: ...


def batches(
    X: ArrayLike,
    y: ArrayLike | None = None,
    batch_size: int = 64,
    *,
    seed: int | np.random.Generator | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    augment: Augment | None = None,
) -> Iterator[NDArray[Any]] | Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Walk through the data once, in batches of samples.

    Parameters
    ----------
    X : array_like, shape (N, ...)
        The samples.
    y : array_like, shape (N, ...), optional
        What belongs to the samples, such as labels.
    batch_size : int, default=64
        Number of samples in a batch. The last batch has what is left.
    seed : int, Generator or None, default=None
        Given to ``numpy.random.default_rng`` to draw the order. The same number gives the same
        order; pass a generator to get another order on every walk, or None for a random one.
    shuffle : bool, default=True
        Whether to draw a random order. Otherwise the samples come in their own order.
    drop_last : bool, default=False
        Whether to leave out a last batch of fewer than `batch_size` samples. If there are fewer
        samples than that, there is no batch.
    augment : Augment, optional
        What is done to the images `X`, of uint8 and shape (N, channels, height, width); the
        batches are float32 then. The seed decides it too.

    Returns
    -------
    generator
        Yields ``(X_batch, y_batch)``, or ``X_batch`` alone without `y`: new C-contiguous arrays
        of the types of `X` and `y`.

    Raises
    ------
    TypeError
        If `batch_size` is not an integer, `augment` no `Augment`, or with it `X` not of uint8.
    ValueError
        If there are no samples, if `X` and `y` differ in length, or if `batch_size` is below 1.
        Errors are raised by the call, not when the first batch is taken.

    Examples
    --------
    >>> from fastnn import datasets
    >>> X, y = datasets.digits()
    >>> [len(X_batch) for X_batch, y_batch in datasets.batches(X, y, 500, seed=0)]
    [500, 500, 500, 297]
    >>> next(datasets.batches(y, batch_size=4, shuffle=False))
    array([0, 1, 2, 3])
    """
    X = _samples("batches", X, "X")
    if y is not None:
        y = _samples("batches", y, "y", X)
    try:
        size = operator.index(batch_size)
    except TypeError:
        raise TypeError(f"batches: expected an integer batch_size, got {batch_size!r}") from None
    if size < 1:
        raise ValueError(f"batches: expected batch_size of at least 1, got {size}")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(X)) if shuffle else np.arange(len(X))
    if drop_last:
        order = order[: len(X) // size * size]
    starts = range(0, len(order), size)
    parts = [order[start : start + size] for start in starts]
    if augment is None:
        images: Iterator[NDArray[Any]] = (np.take(X, part, axis=0) for part in parts)
    else:
        X = images_to_augment(X, augment)
        filled = augment.compiled(X, np.float32, int(generator.integers(2**63)))
        images = (filled.batch(X, part, first) for part, first in zip(parts, starts, strict=True))
    if y is None:
        return images
    return ((batch, np.take(y, part, axis=0)) for batch, part in zip(images, parts, strict=True))


def train_test_split(
    X: ArrayLike,
    y: ArrayLike,
    test_size: float | int = 0.2,
    seed: int | np.random.Generator | None = 0,
    stratify: bool = True,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Divide the data at random into training data and test data.

    Parameters
    ----------
    X : array_like, shape (N, ...)
        The samples.
    y : array_like, shape (N,), or (N, ...) without `stratify`
        What belongs to the samples, such as labels.
    test_size : float or int, default=0.2
        A float between 0 and 1 is the part of the samples to test on, rounded to the nearest
        number of samples; an int is that number.
    seed : int, Generator or None, default=0
        Given to ``numpy.random.default_rng``. The same number gives the same division.
    stratify : bool, default=True
        Whether every class has the same share in both parts, to within one sample per class.
        `y` must then be labels: integers, booleans or strings.

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        New arrays of the types of `X` and `y`, shuffled.

    Raises
    ------
    TypeError
        If `test_size` is not a number, or `y` does not hold labels but `stratify` is true.
    ValueError
        If there are no samples, if `X` and `y` differ in length, if `test_size` leaves no samples
        for one of the parts, or if `y` has several axes but `stratify` is true.

    Examples
    --------
    >>> from fastnn import datasets
    >>> X, y = datasets.digits()
    >>> X_train, X_test, y_train, y_test = datasets.train_test_split(X, y, test_size=0.2, seed=0)
    >>> X_train.shape, X_test.shape
    ((1438, 64), (359, 64))
    """
    X = _samples("train_test_split", X, "X")
    y = _samples("train_test_split", y, "y", X)
    tested = _tested_count(test_size, len(X))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(X))
    is_test = np.arange(len(X)) < tested
    if stratify:
        if y.ndim != 1:
            raise ValueError(
                f"train_test_split: expected y of shape (N,) with one label per sample for "
                f"stratify=True, got shape {y.shape}"
            )
        if y.dtype.kind not in "biuUS":
            raise TypeError(
                f"train_test_split: expected labels in y (integers, booleans or strings) for "
                f"stratify=True, got dtype {y.dtype}; pass stratify=False for other targets"
            )
        classes, labels, counts = np.unique(y[order], return_inverse=True, return_counts=True)
        # Every class gets the whole part of its share; the largest remainders get one more, and
        # equal remainders are told apart by chance.
        shares, remainders = np.divmod(counts * tested, len(X))
        ranking = np.lexsort((generator.random(len(classes)), -remainders))
        shares[ranking[: tested - shares.sum()]] += 1
        is_test[:] = False
        for label, share in enumerate(shares):
            is_test[np.flatnonzero(labels == label)[:share]] = True
    train, test = order[~is_test], order[is_test]
    return X[train], X[test], y[train], y[test]


def _tested_count(test_size: float | int, total: int) -> int:
    if isinstance(test_size, (bool, np.bool_)) or not isinstance(
        test_size, (int, float, np.integer, np.floating)
    ):
        raise TypeError(
            f"train_test_split: expected a float between 0 and 1 or an int as test_size, "
            f"got {test_size!r}"
        )
    if isinstance(test_size, (int, np.integer)):
        tested = int(test_size)
    elif 0 < test_size < 1:
        tested = round(float(test_size) * total)
    else:
        raise ValueError(
            f"train_test_split: expected a float test_size between 0 and 1, got {test_size!r}"
        )
    if not 0 < tested < total:
        raise ValueError(
            f"train_test_split: expected at least one sample to train on and one to test on, got "
            f"test_size={test_size!r} of {total} samples, which is {tested} to test on"
        )
    return tested


def _samples(
    function: str, data: ArrayLike, name: str, beside: NDArray[Any] | None = None
) -> NDArray[Any]:
    """The data as an array of samples, as many as there are in `beside`."""
    array = to_array(data)
    if array.ndim == 0:
        raise ValueError(
            f"{function}: expected {name} with samples along its first axis, got a single "
            f"value of dtype {array.dtype}"
        )
    if beside is not None and len(array) != len(beside):
        raise ValueError(
            f"{function}: expected as many samples in X as in y, got {len(beside)} (shape "
            f"{beside.shape}) and {len(array)} (shape {array.shape})"
        )
    if beside is None and array.size == 0:
        raise ValueError(
            f"{function}: expected samples that are not empty, got {name} of shape {array.shape}"
        )
    return array
