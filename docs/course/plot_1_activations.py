"""
1. Activations
==============

Without a nonlinear function between them, layers are one linear layer.
"""

import numpy as np

import fastnn
from fastnn import nn

y, pullback = fastnn.vjp(nn.Tanh(), np.array([[0.0, 1.0]]))
print(pullback(np.ones_like(y)))
