"""Training: the compiled step, and the loop around it.

step.py        forward, backward, update in one call or apart
programs.py    the compiled programs of a step, and when one has to be made again
epoch.py       a step over a data set, guarded
divergence.py  a snapshot to go back to when the loss explodes, and where it happened
trainer.py     fit, evaluate, predict
fit.py         the loop of `fit`
data.py        what these are given, as arrays
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
