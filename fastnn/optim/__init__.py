"""What an update of the parameters is."""

from fastnn.optim.clip import clip_grad_norm_
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.sgd import SGD

__all__ = ["SGD", "Optimizer", "clip_grad_norm_"]
