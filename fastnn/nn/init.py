"""Initial values of parameters.

Each function fills a `Parameter` (or an array) in place and returns it. For a weight of shape
(out, in, *kernel), ``fan_in = in * prod(kernel)`` is the number of inputs of a unit and
``fan_out = out * prod(kernel)`` the number of units that an input feeds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fastnn.nn.parameter import Parameter
from fastnn.random import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

Filled = TypeVar("Filled", Parameter, np.ndarray)


def values_of(tensor: Parameter | NDArray) -> NDArray:
    """The array to fill."""
    if isinstance(tensor, Parameter):
        return tensor.data
    if isinstance(tensor, np.ndarray) and tensor.dtype.kind == "f":
        return tensor
    raise TypeError(f"got {type(tensor).__name__}, expected a Parameter or an array of floats")


def fans(tensor: Parameter | NDArray) -> tuple[int, int]:
    """fan_in and fan_out of a weight.

    Raises
    ------
    ValueError
        If it has fewer than two axes.
    """
    shape = tensor.shape
    if len(shape) < 2:
        raise ValueError(f"got shape {shape}, expected at least (out, in): a vector has no fan")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity, as PyTorch defines it.

    Parameters
    ----------
    nonlinearity : str
        'linear', 'sigmoid' (1), 'tanh' (5/3), 'relu' (sqrt 2), 'leaky_relu'
        (sqrt(2 / (1 + slope^2))), 'selu' (3/4), or the name of a convolution (1).
    param : float, optional
        The slope of leaky ReLU, 0.01 by default.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the nonlinearity is unknown.

    Examples
    --------
    >>> round(calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity in ("linear", "identity", "conv1d", "conv2d", "conv3d", "sigmoid"):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2 / (1 + slope**2))
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        raise ValueError(
            f"got nonlinearity {nonlinearity!r}, expected one of "
            f"{['linear', 'sigmoid', *gains, 'leaky_relu']}"
        )
    return gains[nonlinearity]


def fill_layer(weight: Parameter, bias: Parameter | None) -> None:
    """The initial values of a layer, uniform on +-1/sqrt(fan_in), as PyTorch's."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(fans(weight)[0])
        uniform_(bias, -bound, bound)


def zeros_(tensor: Filled) -> Filled:
    """Fills with zeros.

    Parameters
    ----------
    tensor : Parameter or ndarray

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Examples
    --------
    >>> from fastnn import nn
    >>> nn.init.zeros_(nn.Linear(2, 1).weight).data
    array([[0., 0.]], dtype=float32)
    """
    return constant_(tensor, 0.0)


def ones_(tensor: Filled) -> Filled:
    """Fills with ones.

    Parameters
    ----------
    tensor : Parameter or ndarray

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Examples
    --------
    >>> from fastnn import nn
    >>> nn.init.ones_(nn.Linear(2, 1).weight).data
    array([[1., 1.]], dtype=float32)
    """
    return constant_(tensor, 1.0)


def constant_(tensor: Filled, val: float) -> Filled:
    """Fills with one value.

    Parameters
    ----------
    tensor : Parameter or ndarray
    val : float

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Examples
    --------
    >>> from fastnn import nn
    >>> nn.init.constant_(nn.Linear(2, 1).bias, 0.1).data
    array([0.1], dtype=float32)
    """
    values_of(tensor)[...] = val
    return tensor


def normal_(tensor: Filled, mean: float = 0.0, std: float = 1.0) -> Filled:
    """Fills from the normal distribution.

    Parameters
    ----------
    tensor : Parameter or ndarray
    mean : float, default=0
    std : float, default=1
        The standard deviation.

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Raises
    ------
    ValueError
        If `std` is below 0.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn
    >>> fastnn.manual_seed(0)
    >>> weight = nn.init.normal_(nn.Linear(200, 100).weight, std=0.01)
    >>> round(float(weight.data.std()), 3)
    0.01
    """
    if std < 0:
        raise ValueError(f"got a standard deviation of {std}, expected at least 0")
    values = values_of(tensor)
    values[...] = generator().normal(mean, std, values.shape)
    return tensor


def uniform_(tensor: Filled, a: float = 0.0, b: float = 1.0) -> Filled:
    """Fills from the uniform distribution on [a, b).

    Parameters
    ----------
    tensor : Parameter or ndarray
    a : float, default=0
    b : float, default=1

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Raises
    ------
    ValueError
        If `b` is below `a`.

    Examples
    --------
    >>> from fastnn import nn
    >>> weight = nn.init.uniform_(nn.Linear(200, 100).weight, -0.5, 0.5)
    >>> bool((abs(weight.data) <= 0.5).all())
    True
    """
    if b < a:
        raise ValueError(f"got the range [{a}, {b}), expected a <= b")
    values = values_of(tensor)
    values[...] = generator().uniform(a, b, values.shape)
    return tensor


def xavier_normal_(tensor: Filled, gain: float = 1.0) -> Filled:
    """Normal with ``std = gain * sqrt(2 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).

    Parameters
    ----------
    tensor : Parameter or ndarray
        Of two axes or more.
    gain : float, default=1
        See `calculate_gain`.

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Raises
    ------
    ValueError
        If there are fewer than two axes.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn
    >>> fastnn.manual_seed(0)
    >>> weight = nn.init.xavier_normal_(nn.Linear(200, 100).weight)
    >>> round(float(weight.data.std()), 3), round((2 / (200 + 100)) ** 0.5, 3)
    (0.082, 0.082)
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def xavier_uniform_(tensor: Filled, gain: float = 1.0) -> Filled:
    """Uniform on +-``gain * sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).

    Parameters
    ----------
    tensor : Parameter or ndarray
        Of two axes or more.
    gain : float, default=1
        See `calculate_gain`.

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Raises
    ------
    ValueError
        If there are fewer than two axes.

    Examples
    --------
    >>> from fastnn import nn
    >>> weight = nn.init.xavier_uniform_(nn.Linear(200, 100).weight)
    >>> bool((abs(weight.data) <= (6 / (200 + 100)) ** 0.5).all())
    True
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def kaiming_std(tensor: Parameter | NDArray, a: float, mode: str, nonlinearity: str) -> float:
    """``gain / sqrt(fan)``"""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"got mode {mode!r}, expected 'fan_in' or 'fan_out'")
    fan = fans(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_normal_(
    tensor: Filled, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Filled:
    """Normal with ``std = gain / sqrt(fan)`` (He et al., 2015).

    Parameters
    ----------
    tensor : Parameter or ndarray
        Of two axes or more.
    a : float, default=0
        Slope below zero of the (leaky) ReLU that follows.
    mode : {'fan_in', 'fan_out'}, default='fan_in'
        Whether the variance is kept forward or backward.
    nonlinearity : str, default='leaky_relu'
        See `calculate_gain`.

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Raises
    ------
    ValueError
        If there are fewer than two axes, or `mode` or `nonlinearity` is unknown.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn
    >>> fastnn.manual_seed(0)
    >>> weight = nn.init.kaiming_normal_(nn.Linear(200, 100).weight, nonlinearity="relu")
    >>> round(float(weight.data.std()), 2), round((2 / 200) ** 0.5, 2)
    (0.1, 0.1)
    """
    return normal_(tensor, 0.0, kaiming_std(tensor, a, mode, nonlinearity))


def kaiming_uniform_(
    tensor: Filled, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Filled:
    """Uniform on +-``gain * sqrt(3 / fan)`` (He et al., 2015).

    Parameters
    ----------
    tensor : Parameter or ndarray
        Of two axes or more.
    a, mode, nonlinearity
        As in `kaiming_normal_`.

    Returns
    -------
    Parameter or ndarray
        The one that was given.

    Raises
    ------
    ValueError
        As for `kaiming_normal_`.

    Examples
    --------
    >>> from fastnn import nn
    >>> weight = nn.init.kaiming_uniform_(nn.Linear(200, 100).weight, nonlinearity="relu")
    >>> bool((abs(weight.data) <= (6 / 200) ** 0.5).all())
    True
    """
    bound = math.sqrt(3) * kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)
