"""The handwritten digits which are part of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def digits(flatten: bool = True) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return 1797 handwritten digits, 8 by 8 pixels with grey levels from 0 to 16.

    These are the test images of "Optical Recognition of Handwritten Digits" by E. Alpaydin and
    C. Kaynak (1998), UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed
    under CC BY 4.0.

    Parameters
    ----------
    flatten : bool, default=True
        Whether an image is a row of 64 numbers or an array of shape (1, 8, 8).

    Returns
    -------
    X : ndarray of uint8, shape (1797, 64) or (1797, 1, 8, 8)
        The images. They are a fresh copy, free to be changed.
    y : ndarray of int64, shape (1797,)
        The digit that every image shows, 0 to 9.

    Examples
    --------
    >>> from fastnn import datasets
    >>> X, y = datasets.digits()
    >>> X.shape, X.dtype, int(X.max())
    ((1797, 64), dtype('uint8'), 16)
    >>> y[:5]
    array([0, 1, 2, 3, 4])
    """
    from importlib import resources

    source = resources.files("fastnn.datasets").joinpath("data", "digits.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    return images.reshape(-1, 64) if flatten else images, labels.astype(np.int64)
