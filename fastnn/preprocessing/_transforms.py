"""The preprocessing of the course, by what is averaged over and whether it is scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn.preprocessing._base import Preprocessor

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


class ZeroCenter(Preprocessor):
    """Subtract the mean of every feature: ``x - mean_``, with ``mean_ = sum(X) / N``.

    Attributes and errors are those of `Preprocessor`; ``mean_`` has the shape of one sample.

    Parameters
    ----------
    dtype : dtype, optional
        Floating-point type of the results, as in `Preprocessor`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.preprocessing import ZeroCenter
    >>> center = ZeroCenter().fit(np.array([[0.0, 10.0], [2.0, 30.0]]))
    >>> center.mean_
    array([ 1., 20.])
    >>> center.transform(np.array([[1.0, 0.0]]))
    array([[  0., -20.]])
    """


class Standardize(Preprocessor):
    """Bring every feature to mean 0 and standard deviation 1: ``(x - mean_) / scale_``.

    ``scale_`` is the population standard deviation ``sqrt(sum((X - mean_)**2) / N)`` of each
    feature, and 1 for a feature that is constant. Attributes and errors are those of
    `Preprocessor`; ``mean_`` and ``scale_`` have the shape of one sample.

    Parameters
    ----------
    dtype : dtype, optional
        Floating-point type of the results, as in `Preprocessor`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.preprocessing import Standardize
    >>> standardize = Standardize()
    >>> standardize.fit_transform(np.array([[1, 7], [3, 7]], dtype=np.uint8))
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    >>> standardize.scale_
    array([1., 1.])
    """

    _divides = True


class MeanImage(Preprocessor):
    """Subtract the mean image, the mean of every pixel over the training images.

    ``mean_ = sum(X) / N`` keeps the shape of one image, so it can be looked at. Attributes
    and errors are those of `Preprocessor`.

    Parameters
    ----------
    dtype : dtype, optional
        Floating-point type of the results, as in `Preprocessor`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.preprocessing import MeanImage
    >>> images = np.array([[[[0, 50]]], [[[100, 150]]]], dtype=np.uint8)
    >>> mean_image = MeanImage().fit(images)
    >>> mean_image.mean_.shape
    (1, 1, 2)
    >>> mean_image.transform(images)[0]
    array([[[-50., -50.]]], dtype=float32)
    """


class ChannelMean(Preprocessor):
    """Subtract one mean per channel from images of shape (N, C, H, W).

    ``mean_``, of shape (C,), is the mean over all pixels of all training images. With `scale`,
    also divide by ``scale_``, the population standard deviation of each channel, or 1 for a
    channel that is constant. Images given to ``transform`` may differ in height and width from
    those given to ``fit``. Attributes and errors are those of `Preprocessor`.

    Parameters
    ----------
    scale : bool, default False
        Whether to divide by the standard deviation of the channel.
    dtype : dtype, optional
        Floating-point type of the results, as in `Preprocessor`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.preprocessing import ChannelMean
    >>> images = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    >>> images[1, 0] = 100
    >>> ChannelMean().fit(images).mean_
    array([50.,  0.,  0.])
    >>> ChannelMean(scale=True).fit(images).scale_
    array([50.,  1.,  1.])
    """

    _averaged_axes = (0, 2, 3)
    _axis_names = ("N", "C", "H", "W")

    def __init__(self, *, scale: bool = False, dtype: DTypeLike | None = None) -> None:
        super().__init__(dtype=dtype)
        self.scale = bool(scale)
        self._divides = self.scale

    def _settings(self) -> dict[str, Any]:
        return {"scale": self.scale, **super()._settings()}
