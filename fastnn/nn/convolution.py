"""Convolution of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._checks import check_sizes, pair
from fastnn.nn import functional, init
from fastnn.nn.functional.convolution import STORAGE_AXES, check_algorithm, padding_around
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class Conv2d(Module):
    """``y[k] = bias[k] + sum over c of x[c] * weight[k, c]``, kernels slid over images.

    From x (batch, in_channels, height, width) to (batch, out_channels, height', width') with
    ``height' = floor((height + 2 padding - dilation (kernel - 1) - 1) / stride) + 1``.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int, or (height, width)
    stride : int, or (height, width), default=1
        Distance of two output pixels in the input.
    padding : int, (height, width), "same" or "valid", default=0
        Zeros around the image; "same" keeps its size (stride 1 only).
    dilation : int, or (height, width), default=1
        Distance of two elements of a kernel in the input.
    groups : int, default=1
        Parts of the channels that are convolved apart; as many as channels: depthwise.
    bias : bool, default=True
    algorithm : {"auto", "im2col", "winograd", "direct"}, default="auto"
        How it is computed. "auto" chooses by shape; see `Module.summary` for what was chosen.
        Winograd's is the fastest for 3 x 3 and 5 x 5 kernels, and in float32 loses some two digits;
        "direct" is exact to rounding; "im2col" is the textbook's, and slow.

    Attributes
    ----------
    weight : Parameter (out_channels, in_channels / groups, height, width)
    bias : Parameter (out_channels,) or None
        Both start uniform on +-1/sqrt(fan_in), as PyTorch's.

    Raises
    ------
    ValueError
        If a size is out of range, the channels are no multiples of `groups`, or `algorithm` is
        unknown; when called, if `algorithm` does not compute this convolution.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Conv2d(3, 8, 3, padding=1)(np.zeros((2, 3, 5, 7))).shape
    (2, 8, 5, 7)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        algorithm: str = "auto",
    ):
        super().__init__()
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: got {in_channels} and {out_channels} channels, expected multiples of "
                f"groups={groups}"
            )
        self.in_channels, self.out_channels = int(in_channels), int(out_channels)
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = pair("stride", stride, 1)
        self.dilation = pair("dilation", dilation, 1)
        self.padding = padding if isinstance(padding, str) else pair("padding", padding, 0)
        padding_around(self.padding, self.kernel_size, self.stride, self.dilation)  # may raise
        self.groups = int(groups)
        self.algorithm = check_algorithm(algorithm)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32), storage_axes=STORAGE_AXES)
        self.bias = Parameter(np.empty(self.out_channels, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values again."""
        init.fill_layer(self.weight, self.bias)

    def forward(self, x: Any) -> Any:
        return functional.conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.algorithm,
        )

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}, stride={self.stride}",
        ]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding!r}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.algorithm != "auto":
            parts.append(f"algorithm={self.algorithm!r}")
        return ", ".join(parts)
