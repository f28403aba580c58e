"""Training: the compiled step, and the loop around it.

step.py        forward, backward, update as one program
divergence.py  a snapshot to go back to when the loss explodes, and where it happened
trainer.py     epochs, validation, prediction
callbacks.py   what may look at a training, and end it
history.py     what was measured
progress.py    the bar
"""

from fastnn.training.callbacks import Callback, EarlyStopping
from fastnn.training.divergence import TrainingDiverged
from fastnn.training.history import History
from fastnn.training.step import TrainingStep
from fastnn.training.trainer import Trainer

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "Trainer",
    "TrainingDiverged",
    "TrainingStep",
]
