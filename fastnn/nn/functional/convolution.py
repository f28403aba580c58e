"""Convolution of images as a function."""

from __future__ import annotations

from typing import Any

from fastnn._checks import pair, whole
from fastnn._compiler.convolution.choice import REQUESTS
from fastnn.nn.functional.record import computes_on_arrays, weight_in_graph

# A kernel (filters, channels, height, width) lies in memory as (height, width, channels, filters).
STORAGE_AXES = (2, 3, 1, 0)


def padding_around(
    padding: Any, kernel: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) of a number, a pair, "valid" or "same".

    "same" keeps the size of the image; of an odd number of zeros the last is below, or right.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"got padding='same' with stride={stride}, expected a stride of 1")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        top, left = (total // 2 for total in totals)
        return (top, totals[0] - top), (left, totals[1] - left)
    if isinstance(padding, str):
        raise ValueError(f"got padding={padding!r}, expected numbers, 'same' or 'valid'")
    height, width = pair("padding", padding, 0)
    return (height, height), (width, width)


def check_algorithm(algorithm: str) -> str:
    """One of the algorithms that can be asked for; ValueError for anything else."""
    if algorithm not in REQUESTS:
        raise ValueError(f"got algorithm={algorithm!r}, expected one of {list(REQUESTS)}")
    return algorithm


@computes_on_arrays("input")
def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> Any:
    """``y[k] = bias[k] + sum over c of input[c] * weight[k, c]`` (cross-correlation) by image.

    Parameters
    ----------
    input : (batch, channels, height, width)
    weight : (filters, channels / groups, kernel height, kernel width)
    bias : (filters,), optional
    stride : int, or (height, width), default=1
    padding : int, (height, width), "same" or "valid", default=0
    dilation : int, or (height, width), default=1
    groups : int, default=1
        Parts of the channels, each seen by its own part of the filters.
    algorithm : {"auto", "im2col", "winograd", "direct"}, default="auto"

    Returns
    -------
    (batch, filters, out height, out width)

    Raises
    ------
    ValueError
        If shapes don't fit each other, a number is out of range, the kernel is larger than the
        padded image, or `algorithm` does not compute this convolution.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> F.conv2d(image, np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """
    graph = input.graph
    weight = weight_in_graph(graph, weight, STORAGE_AXES)
    steps, spread = pair("stride", stride, 1), pair("dilation", dilation, 1)
    return graph.record(
        "conv2d",
        [input, weight, weight_in_graph(graph, bias, (0,))],
        stride=steps,
        padding=padding_around(padding, weight.shape[2:], steps, spread),
        dilation=spread,
        groups=whole("groups", groups, 1),
        request=check_algorithm(algorithm),
    )[0]
