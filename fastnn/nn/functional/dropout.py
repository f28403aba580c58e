"""Dropout of single values, and of whole channels."""

from __future__ import annotations

from typing import Any

from fastnn._checks import in_range
from fastnn.nn.functional.record import computes_on_arrays, new_salt


@computes_on_arrays("input")
def dropout(input: Any, p: float = 0.5, training: bool = True) -> Any:
    """In training, zero with probability `p`, else ``x / (1 - p)``; the input itself otherwise.

    Parameters
    ----------
    input : array_like
    p : float, default=0.5
        From 0 to 1.
    training : bool, default=True

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    ValueError
        If `p` is not from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> import fastnn
    >>> fastnn.manual_seed(0)
    >>> np.unique(F.dropout(np.ones((2, 100)), p=0.5))
    array([0., 2.])
    >>> F.dropout(np.ones((1, 3)), training=False)
    array([[1., 1., 1.]])
    """
    p = in_range("p", p, 0, 1)
    if not training or p == 0:
        return input
    return input.graph.record("dropout", [input], p=p, salt=new_salt(input.graph))[0]


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

    Raises
    ------
    ValueError
        If `p` is not from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> import fastnn
    >>> fastnn.manual_seed(0)
    >>> y = F.dropout2d(np.ones((4, 8, 2, 2)), p=0.5)
    >>> bool((y == y[:, :, :1, :1]).all())  # a channel as a whole
    True
    """
    p = in_range("p", p, 0, 1)
    if not training or p == 0:
        return input
    return input.graph.record("dropout_channels", [input], p=p, salt=new_salt(input.graph))[0]
