"""Augmentation of images, computed while a batch is filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array, to_reals, whole
from fastnn._core.augmentation import Augmentation
from fastnn._core.dispatch import kernels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

LARGEST_BYTE = 255
MOST_PADDING = 1024


class Augment:
    """Random crops and mirror images of uint8 images, normalized by channel.

    An image is put inside `crop_padding` zeros, a part of its own size is cropped there at random,
    every second one is mirrored, and ``y = (x / 255 - mean) / std``. This is the augmentation of
    He et al. (2015) for CIFAR-10.

    Given to `batches` or `fastnn.Trainer.fit`, it works in compiled code on each batch, so that the
    images stay bytes in memory. What an image becomes depends on the seed and its place in the
    epoch, not on the size of batches or the number of threads.

    Parameters
    ----------
    crop_padding : int, default=0
        Pixels of zeros on each side; 0 for no random crop.
    flip : bool, default=False
        Whether images are mirrored, left to right, with probability 1/2.
    mean : float or sequence of float, default=0
    std : float or sequence of float, default=1
        By channel, of pixels between 0 and 1.

    Raises
    ------
    ValueError
        If `crop_padding` is no whole number from 0 to 1024, or `std` not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import datasets
    >>> X = np.random.default_rng(0).integers(0, 256, (100, 3, 32, 32), dtype=np.uint8)
    >>> augment = datasets.Augment(crop_padding=4, flip=True, mean=0.5, std=0.25)
    >>> batch = next(datasets.batches(X, batch_size=10, seed=0, augment=augment))
    >>> batch.shape, batch.dtype
    ((10, 3, 32, 32), dtype('float32'))
    >>> bool(np.allclose(augment.normalize(X), (X / 255 - 0.5) / 0.25, atol=1e-6))
    True
    """

    def __init__(
        self,
        crop_padding: int = 0,
        flip: bool = False,
        mean: float | Sequence[float] | NDArray[Any] = 0.0,
        std: float | Sequence[float] | NDArray[Any] = 1.0,
    ):
        self.crop_padding = whole("crop_padding", crop_padding, 0, MOST_PADDING, "Augment: ")
        self.flip = bool(flip)
        self.mean = np.array(to_reals("Augment: mean", mean), np.float64)
        self.std = np.array(to_reals("Augment: std", std), np.float64)
        if self.mean.ndim > 1 or self.std.ndim > 1:
            raise ValueError(
                f"Augment: got mean of shape {self.mean.shape} and std of shape {self.std.shape}, "
                "expected one number, or one a channel"
            )
        if not (np.isfinite(self.mean).all() and (self.std > 0).all()):
            raise ValueError(
                f"Augment: got mean={mean!r} and std={std!r}, expected numbers and std above 0"
            )

    def __repr__(self) -> str:
        return (
            f"Augment(crop_padding={self.crop_padding}, flip={self.flip}, "
            f"mean={self.mean.tolist()}, std={self.std.tolist()})"
        )

    def normalize(self, X: ArrayLike, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """All images in order, normalized and otherwise as they are: for tests and inference.

        Parameters
        ----------
        X : array_like of uint8, shape (N, channels, height, width)
        dtype : float32 or float64, default=float32

        Returns
        -------
        ndarray, shape (N, channels, height, width)
        """
        images = images_to_augment(X, self)
        plain = Augment(0, False, self.mean, self.std)
        return plain.compiled(images, dtype, 0).batch(images, np.arange(len(images)))

    def compiled(self, images: NDArray[Any], dtype: DTypeLike, key: int) -> Augmentation:
        """What fills batches with images like these; `key` decides all that is random."""
        shape = images.shape[1:]
        numbers = []
        for name, given in (("mean", self.mean), ("std", self.std)):
            if given.ndim and len(given) != shape[0]:
                raise ValueError(
                    f"augment: got {name} for {len(given)} channels, expected {shape[0]} as in "
                    f"images of shape {images.shape}"
                )
            numbers.append(np.broadcast_to(given, shape[:1]))
        mean, std = numbers
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"augment: got dtype {dtype}, expected float32 or float64")
        return Augmentation(
            kernels(dtype.name)["augment_images_forward"],
            dtype,
            shape,
            1 / (LARGEST_BYTE * std),
            -mean / std,
            self.crop_padding,
            self.flip,
            key,
        )


def images_to_augment(X: ArrayLike, augment: Augment) -> NDArray[np.uint8]:
    """C-contiguous images of bytes; TypeError, ValueError if `X` or `augment` is something else."""
    if not isinstance(augment, Augment):
        got = f"the class {augment.__name__}" if isinstance(augment, type) else repr(augment)
        raise TypeError(f"augment: got {got}, expected an object such as Augment(crop_padding=4)")
    images = to_array(X)
    if images.dtype != np.uint8:
        raise TypeError(f"augment: got images of {images.dtype}, expected uint8")
    if images.ndim != 4:
        raise ValueError(
            f"augment: got images of shape {images.shape}, expected (N, channels, height, width)"
        )
    return np.ascontiguousarray(images)
