"""Functions of images, (batch, channels, height, width)."""

from __future__ import annotations

from typing import Any

from fastnn.nn.functional.record import computes_on_arrays


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """One number for both axes, or one for each: (height, width)."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(numbers) != 2 or any(
        isinstance(n, bool) or int(n) != n or n < least for n in numbers
    ):
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
