"""Normalization of a batch, and of neighbouring channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._checks import check_sizes, in_range
from fastnn._compiler.value import Value
from fastnn.nn import functional
from fastnn.nn.functional.normalization import check_response_size
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class BatchNorm1d(Module):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias`` by feature (Ioffe and Szegedy, 2015).

    In training, mean and (biased) variance are the batch's, and the running averages move:
    ``new = (1 - momentum) * old + momentum * batch``, with the unbiased variance. In inference the
    running averages take their place. Inputs are (batch, features) or (batch, features, length).

    Parameters
    ----------
    num_features : int
    eps : float, default=1e-5
    momentum : float or None, default=0.1
        None keeps the average of all batches.
    affine : bool, default=True
        Whether there are `weight` and `bias`.
    track_running_stats : bool, default=True
        Without, the batch's statistics are used in inference too.

    Attributes
    ----------
    weight, bias : Parameter (num_features,) or None
    running_mean, running_var : ndarray (num_features,) or None
    num_batches_tracked : ndarray of int64, or None

    Raises
    ------
    ValueError
        If `eps` is below 0 or `momentum` not from 0 to 1; in training, for a batch of one: one
        value has no variance.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> norm = nn.BatchNorm1d(2)
    >>> norm(np.array([[1.0, 0.0], [3.0, 0.5]])).round(2)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> norm.running_mean
    array([0.2  , 0.025], dtype=float32)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        check_sizes(type(self).__name__, num_features=num_features)
        self.num_features = int(num_features)
        self.eps = in_range("eps", eps, 0)
        self.momentum = None if momentum is None else in_range("momentum", momentum, 0, 1)
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.register_buffer("running_mean", np.zeros(num_features, np.float32))
            self.register_buffer("running_var", np.ones(num_features, np.float32))
            self.register_buffer("num_batches_tracked", np.array(0, np.int64))

    def forward(self, x: Any) -> Any:
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
            self.num_batches_tracked,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm2d(BatchNorm1d):
    """`BatchNorm1d` for images: by channel, over the batch and all pixels.

    Attributes are those of `BatchNorm1d`.

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float, default=1e-5
    momentum : float or None, default=0.1
    affine, track_running_stats : bool, default=True
        All as in `BatchNorm1d`.

    Raises
    ------
    ValueError
        In training, for a single image of one pixel: one value has no variance.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> x = np.array([[[[1.0, 3.0]]]])
    >>> nn.BatchNorm2d(1).astype("float64")(x).round(3)
    array([[[[-1.,  1.]]]])
    """

    def forward(self, x: Any) -> Any:
        shape = getattr(x, "shape", (0,) * 4)
        if len(shape) != 4:
            where = x.graph.where("BatchNorm2d") if isinstance(x, Value) else "BatchNorm2d"
            raise ValueError(
                f"{where}: got shape {shape}, expected (batch, channels, height, width)"
            )
        return super().forward(x)


class LocalResponseNorm(Module):
    """``y = x / (k + alpha / size * sum of x**2 over size channels around)**beta``.

    Krizhevsky et al., 2012. Beyond the first and the last channel there are zeros.

    Parameters
    ----------
    size : int
        Channels of a window.
    alpha : float, default=1e-4
    beta : float, default=0.75
    k : float, default=1.0

    Raises
    ------
    ValueError
        If `size` is no whole number of 1 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> x = np.ones((1, 3, 1, 1))
    >>> nn.LocalResponseNorm(3, alpha=3.0, beta=1.0)(x).ravel().round(3)
    array([0.333, 0.25 , 0.333])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        check_response_size(size)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Any) -> Any:
        return functional.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
