"""Activations as modules."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._checks import check_sizes
from fastnn.nn import functional
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Sigmoid()(np.array([[0.0, 1.0]])).round(3)
    array([[0.5  , 0.731]])
    """

    def forward(self, x: Any) -> Any:
        return functional.sigmoid(x)


class Tanh(Module):
    """``tanh(x)``

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Tanh()(np.array([[0.0, 1.0]])).round(3)
    array([[0.   , 0.762]])
    """

    def forward(self, x: Any) -> Any:
        return functional.tanh(x)


class ReLU(Module):
    """``max(x, 0)``

    Parameters
    ----------
    inplace : bool, default=False
        Without effect, for PyTorch's sake: memory is shared wherever it can be.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.ReLU()(np.array([[-1.0, 2.0]]))
    array([[0., 2.]])
    """

    def __init__(self, inplace: bool = False):
        super().__init__()

    def forward(self, x: Any) -> Any:
        return functional.relu(x)


class LeakyReLU(Module):
    """``x`` where positive, else ``negative_slope * x`` (Maas et al., 2013).

    Parameters
    ----------
    negative_slope : float, default=0.01
    inplace : bool, default=False
        Without effect, as for `ReLU`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.LeakyReLU(0.1)(np.array([[-1.0, 2.0]]))
    array([[-0.1,  2. ]])
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope = float(negative_slope)

    def forward(self, x: Any) -> Any:
        return functional.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """``x`` where positive, else ``weight * x`` with a learned slope (He et al., 2015).

    Parameters
    ----------
    num_parameters : int, default=1
        1, or one for each channel.
    init : float, default=0.25
        The slope to start from.

    Attributes
    ----------
    weight : Parameter (num_parameters,)

    Raises
    ------
    ValueError
        If `num_parameters` is no whole number of 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.PReLU()(np.array([[-1.0, 2.0]]))
    array([[-0.25,  2.  ]], dtype=float32)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        super().__init__()
        check_sizes("PReLU", num_parameters=num_parameters)
        self.num_parameters = int(num_parameters)
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x: Any) -> Any:
        return functional.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al., 2016).

    Parameters
    ----------
    alpha : float, default=1.0
    inplace : bool, default=False
        Without effect, as for `ReLU`.
    learnable : bool, default=False
        Whether `alpha` is a parameter that training changes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.ELU()(np.array([[-1.0, 2.0]])).round(3)
    array([[-0.632,  2.   ]])
    >>> [name for name, _ in nn.ELU(learnable=True).named_parameters()]
    ['alpha']
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False, *, learnable: bool = False):
        super().__init__()
        self.alpha = Parameter(np.array([alpha], np.float32)) if learnable else float(alpha)

    def forward(self, x: Any) -> Any:
        return functional.elu(x, self.alpha)

    def extra_repr(self) -> str:
        learnable = isinstance(self.alpha, Parameter)
        return "learnable=True" if learnable else f"alpha={self.alpha}"


class Softmax(Module):
    """``exp(x) / sum(exp(x))`` over the last axis.

    A network that is trained with `CrossEntropyLoss` has none: the loss applies it itself.

    Parameters
    ----------
    dim : int, default=-1
        Must be the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Softmax(dim=1)(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = int(dim)

    def forward(self, x: Any) -> Any:
        return functional.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """``x - log(sum(exp(x)))`` over the last axis.

    Parameters
    ----------
    dim : int, default=-1
        Must be the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.LogSoftmax()(np.zeros((1, 4))).round(3)
    array([[-1.386, -1.386, -1.386, -1.386]])
    """

    def forward(self, x: Any) -> Any:
        return functional.log_softmax(x, self.dim)
