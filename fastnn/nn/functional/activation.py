"""Activations: element by element, and softmax."""

from __future__ import annotations

from typing import Any

from fastnn._compiler.graph import Value
from fastnn.nn.functional.record import computes_on_arrays, constant, in_graph, weight_in_graph
from fastnn.nn.functional.structure import as_image, like
from fastnn.nn.parameter import Parameter


def activation(input: Value, kind: str, slope: float = 0.0) -> Value:
    """An activation of fixed form."""
    return input.graph.record("activation", [input], kind=kind, slope=float(slope))[0]


@computes_on_arrays("input", elementwise=True)
def sigmoid(input: Any) -> Any:
    """``1 / (1 + exp(-x))``

    Parameters
    ----------
    input : array_like

    Returns
    -------
    ndarray
        Of the input's shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.sigmoid(np.array([[0.0, 1.0]])).round(3)
    array([[0.5  , 0.731]])
    """
    return activation(input, "sigmoid")


@computes_on_arrays("input", elementwise=True)
def tanh(input: Any) -> Any:
    """``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``

    Parameters
    ----------
    input : array_like

    Returns
    -------
    ndarray
        Of the input's shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.tanh(np.array([[0.0, 1.0]])).round(3)
    array([[0.   , 0.762]])
    """
    return activation(input, "tanh")


@computes_on_arrays("input", elementwise=True)
def relu(input: Any, inplace: bool = False) -> Any:
    """``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    input : array_like
    inplace : bool, default=False
        Without effect, for PyTorch's sake.

    Returns
    -------
    ndarray
        Of the input's shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.relu(np.array([[-1.0, 2.0]]))
    array([[0., 2.]])
    """
    return activation(input, "relu")


@computes_on_arrays("input", elementwise=True)
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """``x`` where positive, else ``negative_slope * x``.

    Parameters
    ----------
    input : array_like
    negative_slope : float, default=0.01
    inplace : bool, default=False
        Without effect, for PyTorch's sake.

    Returns
    -------
    ndarray
        Of the input's shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.leaky_relu(np.array([[-1.0, 2.0]]))
    array([[-0.01,  2.  ]])
    """
    # The kernel finds the gradient from the output, which tells on which side of zero x was only
    # for a slope above zero; another slope takes the kernel of PReLU.
    if negative_slope > 0:
        return activation(input, "leaky_relu", negative_slope)
    slope = constant(input.graph, [negative_slope])
    return input.graph.record("prelu", [input, slope])[0]


@computes_on_arrays("input")
def prelu(input: Any, weight: Any) -> Any:
    """``x`` where positive, else ``weight * x``.

    Parameters
    ----------
    input : (batch, channels, ...)
    weight : (1,) or (channels,)

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    ValueError
        If there are neither one slope nor one for each channel.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.prelu(np.array([[-1.0, -1.0, 2.0]]), np.array([0.1, 0.2, 0.3]))
    array([[-0.1, -0.2,  2. ]])
    """
    inputs = [as_image(input), weight_in_graph(input.graph, weight, (0,))]
    return like(input.graph.record("prelu", inputs)[0], input)


@computes_on_arrays("input", elementwise=True)
def elu(input: Any, alpha: Any = 1.0, inplace: bool = False) -> Any:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    input : array_like
    alpha : float, or Parameter (1,), default=1.0
    inplace : bool, default=False
        Without effect, for PyTorch's sake.

    Returns
    -------
    ndarray
        Of the input's shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.elu(np.array([[-1.0, 2.0]])).round(3)
    array([[-0.632,  2.   ]])
    """
    if isinstance(alpha, Parameter):
        return input.graph.record("elu", [input, in_graph(input.graph, alpha)])[0]
    if alpha > 0:
        return activation(input, "elu", alpha)
    return input.graph.record("elu", [input, constant(input.graph, [alpha])])[0]


def require_last(name: str, input: Value, dim: int) -> None:
    """ValueError unless `dim`, counted with the batch, is the last axis."""
    if dim not in (-1, len(input.example_shape)):
        where = input.graph.where(name)
        raise ValueError(f"{where}: got dim={dim} for {input.shape}, expected the last axis, -1")


@computes_on_arrays("input")
def softmax(input: Any, dim: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` over the last axis.

    Parameters
    ----------
    input : array_like
    dim : int, default=-1
        Must be the last axis.

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    ValueError
        If `dim` is another axis.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.softmax(np.array([[0.0, 0.0, np.log(2.0)]])).round(3)
    array([[0.25, 0.25, 0.5 ]])
    """
    require_last("softmax", input, dim)
    return input.graph.record("softmax", [input], log=False)[0]


@computes_on_arrays("input")
def log_softmax(input: Any, dim: int = -1) -> Any:
    """``x - log(sum(exp(x)))`` over the last axis.

    Parameters
    ----------
    input : array_like
    dim : int, default=-1
        Must be the last axis.

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    ValueError
        If `dim` is another axis.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.log_softmax(np.zeros((1, 4))).round(3)
    array([[-1.386, -1.386, -1.386, -1.386]])
    """
    require_last("log_softmax", input, dim)
    return input.graph.record("softmax", [input], log=True)[0]
