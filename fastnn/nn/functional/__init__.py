"""Operators as functions.

On traced values (inside a ``forward``) they record a node; on NumPy arrays they compute at once.
Weights may be `Parameter` objects or arrays, in PyTorch's shapes.

Examples
--------
>>> import numpy as np
>>> from fastnn.nn import functional as F
>>> F.relu(np.array([[-1.0, 2.0]]))
array([[0., 2.]])
"""

from fastnn.nn.functional.convolution import conv2d
from fastnn.nn.functional.image import (
    adaptive_avg_pool2d,
    avg_pool2d,
    dropout2d,
    interpolate,
    local_response_norm,
    max_pool2d,
    pad,
)
from fastnn.nn.functional.layers import (
    batch_norm,
    concatenate,
    dropout,
    elu,
    flatten,
    leaky_relu,
    linear,
    log_softmax,
    maxout,
    prelu,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from fastnn.nn.functional.loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    multi_margin_loss,
)

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
