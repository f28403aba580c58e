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

from fastnn.nn.functional.image import (
    max_pool2d,
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
    check_reduction,
    cross_entropy,
    mse_loss,
    multi_margin_loss,
)

__all__ = [
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "concatenate",
    "cross_entropy",
    "dropout",
    "elu",
    "flatten",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "maxout",
    "mse_loss",
    "multi_margin_loss",
    "prelu",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
