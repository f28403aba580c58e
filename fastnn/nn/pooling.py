"""Pooling of images."""

from __future__ import annotations

from typing import Any

from fastnn.nn import functional
from fastnn.nn.functional.image import pooling_windows
from fastnn.nn.module import Module


class MaxPool2d(Module):
    """The largest element of each window, by channel; NaN if one is there.

    Parameters
    ----------
    kernel_size : int, or (height, width)
    stride : int, or (height, width), optional
        Distance of two windows; without it `kernel_size`.
    padding : int, or (height, width), default=0
        At most half of the kernel. Padding is never the largest.
    dilation : int, or (height, width), default=1
        Distance of two elements of a window.
    ceil_mode : bool, default=False
        Whether a last window that is cut off counts.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ):
        super().__init__()
        pooling_windows(kernel_size, stride, padding, dilation, ceil_mode)  # raises where wrong
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, x: Any) -> Any:
        return functional.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )
