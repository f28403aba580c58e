"""Normalization of a batch, and of neighbouring channels."""

from __future__ import annotations

from typing import Any

from fastnn._checks import in_range, is_whole
from fastnn.nn.functional.record import computes_on_arrays, in_graph, weight_in_graph
from fastnn.nn.functional.structure import as_image, like


@computes_on_arrays("input")
def batch_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    batches_tracked: Any = None,
) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` by channel (axis 1).

    In training, and where there are no running averages, mean and variance are the batch's, and
    the running averages move by `momentum` towards them.

    Parameters
    ----------
    input : (batch, channels, ...)
    running_mean, running_var : (channels,), optional
        Used in inference; written to in training.
    weight, bias : (channels,), optional
    training : bool, default=False
    momentum : float or None, default=0.1
        How far the running averages move; None for the mean of all batches.
    eps : float, default=1e-5
    batches_tracked : int64 array of one number, optional
        Counts the batches; needed where `momentum` is None.

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    ValueError
        If a shape does not fit the channels, a channel has one value in training, `eps` is
        below 0, or there is one running average without the other.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.batch_norm(np.array([[1.0, 0.0], [3.0, 0.5]]), training=True).round(2)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    graph = input.graph
    use_batch = training or running_mean is None
    values = [
        as_image(input),
        weight_in_graph(graph, weight, (0,)),
        weight_in_graph(graph, bias, (0,)),
        in_graph(graph, running_mean),
        in_graph(graph, running_var),
        None if batches_tracked is None else in_graph(graph, batches_tracked),
    ]
    attributes = {"training": use_batch, "momentum": momentum, "eps": in_range("eps", eps, 0)}
    return like(graph.record("batchnorm", values, **attributes)[0], input)


def check_response_size(size: Any) -> None:
    """A whole number of channels."""
    if not is_whole(size, 1):
        raise ValueError(f"got size={size!r}, expected a whole number of 1 or more")


@computes_on_arrays("input")
def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """``x / (k + alpha / size * sum of x**2 over size channels around)**beta``.

    Parameters
    ----------
    input : (batch, channels, height, width), or (batch, channels)
    size : int
        Channels of a window; beyond the first and the last there are zeros.
    alpha : float, default=1e-4
    beta : float, default=0.75
    k : float, default=1.0

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    ValueError
        If `size` is no whole number of 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nn import functional as F
    >>> F.local_response_norm(np.ones((1, 3)), size=3, alpha=3.0, beta=1.0).round(3)
    array([[0.333, 0.25 , 0.333]])
    """
    check_response_size(size)
    return input.graph.record(
        "local_response", [input], size=int(size), alpha=float(alpha), beta=float(beta), k=float(k)
    )[0]
