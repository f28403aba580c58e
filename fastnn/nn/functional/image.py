"""Functions of images, (batch, channels, height, width)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._compiler.layout import seen_shape
from fastnn.nn.functional.record import computes_on_arrays, new_salt


def is_whole(number: Any, least: int) -> bool:
    """Whether it is a whole number of `least` or more."""
    is_number = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    return is_number and int(number) >= least


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """One number for both axes, or one for each: (height, width)."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(numbers) != 2 or not all(is_whole(n, least) for n in numbers):
        raise ValueError(
            f"got {name}={value!r}, expected a whole number of {least} or more, or two of them"
        )
    return int(numbers[0]), int(numbers[1])


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
    kernel_size, stride, padding, dilation : int, or (height, width)
        Without `stride` it is `kernel_size`. Padding is never the largest.
    ceil_mode : bool, default=False
        Whether a last window that is cut off counts.

    Returns
    -------
    (batch, channels, out_height, out_width)
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
    kernel_size, stride, padding : int, or (height, width)
        Without `stride` it is `kernel_size`.
    ceil_mode : bool, default=False
        Whether a last window that is cut off counts.
    count_include_pad : bool, default=True
        Whether padding counts in the average, as zero.
    divisor_override : int, optional
        What sums are divided by, in place of the window's size.

    Returns
    -------
    (batch, channels, out_height, out_width)
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
    """
    size = size_or_kept(output_size)
    if None in size:
        size = tuple(n or kept for n, kept in zip(size, seen_shape(input)[-2:], strict=True))
    attributes = {"output_size": size, "divisor": 0.0}
    return input.graph.record("average_pool", [input], **attributes)[0]


@computes_on_arrays("input")
def interpolate(input: Any, scale_factor: Any, mode: str = "nearest") -> Any:
    """Larger images: every pixel repeated.

    Parameters
    ----------
    input : (batch, channels, height, width)
    scale_factor : int, or (height, width)
    mode : {"nearest"}

    Returns
    -------
    (batch, channels, out_height, out_width)
    """
    if mode != "nearest":
        raise ValueError(f"got mode={mode!r}, expected 'nearest'")
    return input.graph.record("upsample", [input], factor=pair("scale_factor", scale_factor, 1))[0]


@computes_on_arrays("input")
def pad(input: Any, pad: Any) -> Any:
    """Images inside a frame of zeros.

    Parameters
    ----------
    input : (batch, channels, height, width)
    pad : int, or (left, right, top, bottom)

    Returns
    -------
    (batch, channels, out_height, out_width)
    """
    return input.graph.record("pad", [input], frame=frame_of(pad))[0]


def frame_of(padding: Any) -> tuple[int, ...]:
    """(left, right, top, bottom), from four numbers or one."""
    frame = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * 4
    if len(frame) != 4 or not all(is_whole(n, 0) for n in frame):
        raise ValueError(
            f"got padding={padding!r}, expected a whole number of 0 or more, or four of them "
            "(left, right, top, bottom)"
        )
    return tuple(int(n) for n in frame)


def check_response_size(size: Any) -> None:
    """A whole number of channels."""
    if not is_whole(size, 1):
        raise ValueError(f"got size={size!r}, expected a whole number of 1 or more")


@computes_on_arrays("input")
def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """``x / (k + alpha / size * sum of x**2 over size channels around)**beta``.

    Parameters
    ----------
    input : (batch, channels, height, width), or (batch, channels)
    size : int
        Channels of a window; beyond the first and the last there are zeros.
    alpha, beta, k : float

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    check_response_size(size)
    return input.graph.record(
        "local_response", [input], size=int(size), alpha=float(alpha), beta=float(beta), k=float(k)
    )[0]


@computes_on_arrays("input")
def dropout2d(input: Any, p: float = 0.5, training: bool = True) -> Any:
    """In training, whole channels zero with probability `p`, else ``x / (1 - p)``.

    Parameters
    ----------
    input : (batch, channels, height, width)
    p : float, default=0.5
        From 0 to 1.
    training : bool, default=True

    Returns
    -------
    ndarray
        Of the input's shape.
    """
    if not training or p == 0:
        return input
    return input.graph.record("dropout_channels", [input], p=float(p), salt=new_salt(input.graph))[
        0
    ]
