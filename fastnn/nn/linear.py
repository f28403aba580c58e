"""Layers of units that see all inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._checks import check_sizes
from fastnn.nn import functional, init
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool, default=True

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
    bias : Parameter (out_features,) or None
        Both start uniform on +-1/sqrt(in_features), as PyTorch's.

    Raises
    ------
    ValueError
        If a size is no whole number of 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Linear(3, 2)(np.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features = int(in_features)
        self.out_features = int(out_features)
        empty = np.empty((out_features, in_features), np.float32)
        self.weight = Parameter(empty, storage_axes=(1, 0))
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Any:
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Maxout(Module):
    """``y = max over pieces k of (x @ W_k.T + b_k)`` (Goodfellow et al., 2013).

    Parameters
    ----------
    in_features, out_features : int
    pieces : int, default=2
        Linear functions of which each unit takes the largest.
    bias : bool, default=True

    Attributes
    ----------
    weight : Parameter (pieces * out_features, in_features)
        Piece k has the rows from ``k * out_features``.
    bias : Parameter (pieces * out_features,) or None

    Raises
    ------
    ValueError
        If a size is no whole number of 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Maxout(3, 2, pieces=4)(np.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, bias: bool = True):
        super().__init__()
        check_sizes("Maxout", in_features=in_features, out_features=out_features, pieces=pieces)
        self.in_features = int(in_features)
        self.out_features = int(out_features)
        self.pieces = int(pieces)
        rows = self.pieces * self.out_features
        empty = np.empty((rows, in_features), np.float32)
        self.weight = Parameter(empty, storage_axes=(1, 0))
        self.bias = Parameter(np.empty(rows, np.float32)) if bias else None
        Linear.reset_parameters(self)  # type: ignore[arg-type]

    def forward(self, x: Any) -> Any:
        return functional.maxout(functional.linear(x, self.weight, self.bias), self.pieces)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"pieces={self.pieces}, bias={self.bias is not None}"
        )
