"""Pooling of images."""

from __future__ import annotations

from typing import Any

from fastnn.nn import functional
from fastnn.nn.functional.pooling import check_divisor, pooling_windows, size_or_kept
from fastnn.nn.module import Module


class MaxPool2d(Module):
    """The largest element of each window, by channel; NaN if one is there.

    From (batch, channels, height, width) to (batch, channels, height', width') with
    ``height' = floor((height + 2 padding - dilation (kernel - 1) - 1) / stride) + 1``, or the
    ceiling (`ceil_mode`).

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

    Raises
    ------
    ValueError
        If a number is out of range, or padding is more than half of the kernel.

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
        *,  # PyTorch has another argument here
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


class AvgPool2d(Module):
    """The average of each window, by channel.

    From (batch, channels, height, width) to (batch, channels, height', width') with
    ``height' = floor((height + 2 padding - kernel) / stride) + 1``, or the ceiling (`ceil_mode`).

    Parameters
    ----------
    kernel_size : int, or (height, width)
    stride : int, or (height, width), optional
        Distance of two windows; without it `kernel_size`.
    padding : int, or (height, width), default=0
        At most half of the kernel.
    ceil_mode : bool, default=False
        Whether a last window that is cut off counts.
    count_include_pad : bool, default=True
        Whether padding counts in the average, as zero.
    divisor_override : int, optional
        What sums are divided by, in place of the window's size.

    Raises
    ------
    ValueError
        If a number is out of range, or padding is more than half of the kernel.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        pooling_windows(kernel_size, stride, padding, 1, ceil_mode)  # raises where wrong
        check_divisor(divisor_override)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Any) -> Any:
        return functional.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The averages of windows that cover the image evenly, by channel.

    From (batch, channels, height, width) to (batch, channels, height', width'). Row i is the mean
    of the rows from ``floor(i height / height')`` to ``ceil((i + 1) height / height') - 1``.

    Parameters
    ----------
    output_size : int, or (height, width)
        None keeps that axis; 1 is the average of the whole image.

    Raises
    ------
    ValueError
        If a size is no whole number of 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.AdaptiveAvgPool2d(1)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[7.5]]]])
    """

    def __init__(self, output_size: Any):
        super().__init__()
        size_or_kept(output_size)  # raises where wrong
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        return functional.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
