"""Larger images: pixels repeated, or a frame of zeros."""

from __future__ import annotations

from typing import Any

from fastnn._checks import pair
from fastnn.nn import functional
from fastnn.nn.functional.image import frame_of
from fastnn.nn.module import Module


class ZeroPad2d(Module):
    """Images inside a frame of zeros.

    From (batch, channels, height, width) to (batch, channels, top + height + bottom,
    left + width + right).

    Parameters
    ----------
    padding : int, or (left, right, top, bottom)

    Raises
    ------
    ValueError
        If `padding` is neither a whole number of 0 or more nor four of them.

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

    From (batch, channels, height, width) to (batch, channels, height * factor, width * factor).

    Parameters
    ----------
    scale_factor : int, or (height, width)
        By name: the first argument of PyTorch's is a size.
    mode : {"nearest"}, default="nearest"

    Raises
    ------
    ValueError
        If `scale_factor` is no whole number of 1 or more, or `mode` another.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Upsample(scale_factor=2)(np.array([[[[1.0, 2.0]]]]))
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """

    def __init__(self, *, scale_factor: Any, mode: str = "nearest"):
        super().__init__()
        if mode != "nearest":
            raise ValueError(f"{type(self).__name__}: got mode={mode!r}, expected 'nearest'")
        pair("scale_factor", scale_factor, 1)  # raises where wrong
        self.scale_factor = scale_factor
        self.mode = mode

    def forward(self, x: Any) -> Any:
        return functional.interpolate(x, scale_factor=self.scale_factor, mode=self.mode)

    def extra_repr(self) -> str:
        return f"scale_factor={self.scale_factor}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` with every pixel repeated.

    Parameters
    ----------
    scale_factor : int, or (height, width)

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.UpsamplingNearest2d(scale_factor=2)(np.array([[[[1.0, 2.0]]]])).shape
    (1, 1, 2, 4)
    """

    def __init__(self, *, scale_factor: Any):
        super().__init__(scale_factor=scale_factor)
