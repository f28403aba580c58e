"""Pooling of images, (batch, channels, height, width)."""

from __future__ import annotations

from typing import Any

from fastnn._checks import is_whole, pair
from fastnn._compiler.layout import seen_shape
from fastnn.nn.functional.record import computes_on_arrays


def pooling_windows(
    kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, tuple]:
    """The windows of pooling as attributes of a node; without a stride they lie side by side."""
    kernel = pair("kernel_size", kernel_size, 1)
    before = pair("padding", padding, 0)
    if any(2 * p > k for p, k in zip(before, kernel, strict=True)):
        raise ValueError(
            f"got padding={padding!r}, expected at most half of kernel_size={kernel_size!r}"
        )
    return {
        "kernel": kernel,
        "stride": kernel if stride is None else pair("stride", stride, 1),
        "padding": before,
        "dilation": pair("dilation", dilation, 1),
        "ceil_mode": (bool(ceil_mode),) * 2,
    }


@computes_on_arrays("input")
def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """The largest element of each window; NaN if one is there.

    The first of equals gets the gradient.

    Parameters
    ----------
    input : (batch, channels, height, width)
    kernel_size : int, or (height, width)
    stride : int, or (height, width), optional
        Without, it is `kernel_size`.
    padding : int, or (height, width), default=0
        Never the largest.
    dilation : int, or (height, width), default=1
    ceil_mode : bool, default=False
        Whether a last window that is cut off counts.

    Returns
    -------
    (batch, channels, out_height, out_width)

    Raises
    ------
    ValueError
        If a number is out of range, padding is more than half of the kernel, or no window fits.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    attributes = pooling_windows(kernel_size, stride, padding, dilation, ceil_mode)
    return input.graph.record("max_pool", [input], **attributes)[0]


def check_divisor(divisor: float | None) -> None:
    """Not zero."""
    if divisor == 0:
        raise ValueError("got divisor_override=0, expected another number")


@computes_on_arrays("input")
def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The average of each window.

    Parameters
    ----------
    input : (batch, channels, height, width)
    kernel_size : int, or (height, width)
    stride : int, or (height, width), optional
        Without, it is `kernel_size`.
    padding : int, or (height, width), default=0
    ceil_mode : bool, default=False
        Whether a last window that is cut off counts.
    count_include_pad : bool, default=True
        Whether padding counts in the average, as zero.
    divisor_override : int, optional
        What sums are divided by, in place of the window's size.

    Returns
    -------
    (batch, channels, out_height, out_width)

    Raises
    ------
    ValueError
        As in `max_pool2d`, and for a `divisor_override` of 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    check_divisor(divisor_override)
    attributes = pooling_windows(kernel_size, stride, padding, 1, ceil_mode)
    attributes["count_padding"] = (bool(count_include_pad),) * 2
    divisor = float(divisor_override or 0)
    return input.graph.record("average_pool", [input], divisor=divisor, **attributes)[0]


def size_or_kept(output_size: Any) -> tuple[int | None, ...]:
    """(height, width), None where an axis is kept."""
    size = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    if len(size) != 2 or not all(n is None or is_whole(n, 1) for n in size):
        raise ValueError(
            f"got output_size={output_size!r}, expected a whole number of 1 or more or None, or "
            "two of them"
        )
    return size


@computes_on_arrays("input")
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """The averages of windows that cover the image evenly.

    Parameters
    ----------
    input : (batch, channels, height, width)
    output_size : int, or (height, width)
        None keeps that axis; 1 is the average of the whole image.

    Returns
    -------
    (batch, channels, out_height, out_width)

    Raises
    ------
    ValueError
        If a size is no whole number of 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.adaptive_avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 1)
    array([[[[7.5]]]])
    """
    size = size_or_kept(output_size)
    if None in size:
        size = tuple(n or kept for n, kept in zip(size, seen_shape(input)[-2:], strict=True))
    attributes = {"output_size": size, "divisor": 0.0}
    return input.graph.record("average_pool", [input], **attributes)[0]
