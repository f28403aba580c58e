"""Larger images: pixels repeated, or a frame of zeros."""

from __future__ import annotations

from typing import Any

from fastnn._checks import is_whole, pair
from fastnn.nn.functional.record import computes_on_arrays


@computes_on_arrays("input")
def interpolate(input: Any, *, scale_factor: Any, mode: str = "nearest") -> Any:
    """Larger images: every pixel repeated.

    Parameters
    ----------
    input : (batch, channels, height, width)
    scale_factor : int, or (height, width)
        By name: the second argument of PyTorch's is a size.
    mode : {"nearest"}, default="nearest"

    Returns
    -------
    (batch, channels, out_height, out_width)

    Raises
    ------
    ValueError
        If `scale_factor` is no whole number of 1 or more, or `mode` another.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.interpolate(np.array([[[[1.0, 2.0]]]]), scale_factor=2)
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
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

    Raises
    ------
    ValueError
        If `pad` is neither a whole number of 0 or more nor four of them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.pad(np.ones((1, 1, 1, 2)), (1, 0, 0, 1))
    array([[[[0., 1., 1.],
             [0., 0., 0.]]]])
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
