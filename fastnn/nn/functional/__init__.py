"""Operators as functions.

On traced values (inside a ``forward``) they record a node; on NumPy arrays they compute at once.
Weights may be `Parameter` objects or arrays, in PyTorch's shapes.

A traced value ``x`` has ``x.shape``, as of an array and with a word in place of the batch size,
``x.ndim``, ``x.size(axis)``, ``x.reshape(x.shape[0], ...)`` (or ``view``) and ``x.flatten(1)``;
sums, differences and products of two of one shape, and sums, products and quotients with plain
numbers.

Examples
--------
>>> import numpy as np
>>> from fastnn.nn import functional as F
>>> F.relu(np.array([[-1.0, 2.0]]))
array([[0., 2.]])
"""

from fastnn.nn.functional.activation import (
    elu,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from fastnn.nn.functional.convolution import conv2d
from fastnn.nn.functional.dropout import dropout, dropout2d
from fastnn.nn.functional.image import interpolate, pad
from fastnn.nn.functional.linear import linear, maxout
from fastnn.nn.functional.loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    multi_margin_loss,
)
from fastnn.nn.functional.normalization import batch_norm, local_response_norm
from fastnn.nn.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from fastnn.nn.functional.structure import concatenate, flatten

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "concatenate",
    "conv2d",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "elu",
    "flatten",
    "interpolate",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "maxout",
    "mse_loss",
    "multi_margin_loss",
    "pad",
    "prelu",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
