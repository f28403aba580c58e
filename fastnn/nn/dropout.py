"""Dropout of single values, and of whole channels."""

from __future__ import annotations

from typing import Any

from fastnn.nn import functional
from fastnn.nn.module import Module


class Dropout(Module):
    """In training, zero with probability `p`, else ``x / (1 - p)`` (Srivastava et al., 2014).

    Parameters
    ----------
    p : float, default=0.5
        Probability of zero, from 0 to 1.
    inplace : bool, default=False
        Without effect, for PyTorch's sake: memory is shared wherever it can be.

    Raises
    ------
    ValueError
        If `p` is not from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Dropout(0.5).eval()(np.ones((1, 4)))
    array([[1., 1., 1., 1.]])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: got p={p}, expected 0 <= p <= 1")
        self.p = float(p)

    def forward(self, x: Any) -> Any:
        return functional.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """In training, whole channels of an image zero with probability `p`, else ``x / (1 - p)``.

    Neighbouring pixels of a channel are much alike, so that dropping single ones hides little
    (Tompson et al., 2015).

    Parameters
    ----------
    p : float, default=0.5
        Probability of zero, from 0 to 1.
    inplace : bool, default=False
        Without effect, as for `Dropout`.

    Raises
    ------
    ValueError
        If `p` is not from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> y = nn.Dropout2d(0.5)(np.ones((4, 8, 2, 2)))
    >>> bool((y == y[:, :, :1, :1]).all())  # a channel as a whole
    True
    """

    def forward(self, x: Any) -> Any:
        return functional.dropout2d(x, self.p, self.training)
