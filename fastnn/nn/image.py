"""Layers of images without parameters, besides pooling."""

from __future__ import annotations

from typing import Any

from fastnn.nn import functional
from fastnn.nn.functional.image import check_response_size, frame_of, pair
from fastnn.nn.module import Module
from fastnn.nn.structure import Dropout


class ZeroPad2d(Module):
    """Images inside a frame of zeros.

    Parameters
    ----------
    padding : int, or (left, right, top, bottom)

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.ZeroPad2d((1, 0, 0, 1))(np.ones((1, 1, 1, 2)))
    array([[[[0., 1., 1.],
             [0., 0., 0.]]]])
    """

    def __init__(self, padding: Any):
        super().__init__()
        self.padding = frame_of(padding)

    def forward(self, x: Any) -> Any:
        return functional.pad(x, self.padding)

    def extra_repr(self) -> str:
        return str(self.padding)


class Upsample(Module):
    """Larger images: every pixel repeated.

    Parameters
    ----------
    scale_factor : int, or (height, width)
    mode : "nearest"

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Upsample(scale_factor=2)(np.array([[[[1.0, 2.0]]]]))
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """

    def __init__(self, scale_factor: Any, mode: str = "nearest"):
        super().__init__()
        if mode != "nearest":
            raise ValueError(f"{type(self).__name__}: got mode={mode!r}, expected 'nearest'")
        pair("scale_factor", scale_factor, 1)  # raises where wrong
        self.scale_factor = scale_factor
        self.mode = mode

    def forward(self, x: Any) -> Any:
        return functional.interpolate(x, self.scale_factor, self.mode)

    def extra_repr(self) -> str:
        return f"scale_factor={self.scale_factor}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` with every pixel repeated.

    Parameters
    ----------
    scale_factor : int, or (height, width)
    """

    def __init__(self, scale_factor: Any):
        super().__init__(scale_factor)


class LocalResponseNorm(Module):
    """``y = x / (k + alpha / size * sum of x**2 over size channels around)**beta``.

    Krizhevsky et al., 2012. Beyond the first and the last channel there are zeros.

    Parameters
    ----------
    size : int
        Channels of a window.
    alpha : float, default=1e-4
    beta : float, default=0.75
    k : float, default=1.0

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> x = np.ones((1, 3, 1, 1))
    >>> nn.LocalResponseNorm(3, alpha=3.0, beta=1.0)(x).ravel().round(3)
    array([0.333, 0.25 , 0.333])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        check_response_size(size)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Any) -> Any:
        return functional.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class Dropout2d(Dropout):
    """In training, whole channels of an image zero with probability `p`, else ``x / (1 - p)``.

    Neighbouring pixels of a channel are much alike, so that dropping single ones hides little
    (Tompson et al., 2015).

    Parameters
    ----------
    p : float, default=0.5
        Probability of zero, from 0 to 1.
    inplace : bool, default=False
        Without effect, as for `Dropout`.
    """

    def forward(self, x: Any) -> Any:
        return functional.dropout2d(x, self.p, self.training)
