"""Dropout of single values, and of whole channels."""

from __future__ import annotations

import numbers
from typing import Any

from fastnn.nn.functional.record import computes_on_arrays, new_salt


def check_probability(where: str, p: Any) -> float:
    """A number from 0 to 1; ValueError for anything else."""
    if not (isinstance(p, numbers.Real) and 0 <= float(p) <= 1):
        raise ValueError(f"{where}: got p={p!r}, expected 0 <= p <= 1")
    return float(p)


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
    p = check_probability("dropout", p)
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
    p = check_probability("dropout2d", p)
    if not training or p == 0:
        return input
    return input.graph.record("dropout_channels", [input], p=p, salt=new_salt(input.graph))[0]
