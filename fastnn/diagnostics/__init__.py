"""The checks of the course: each gives a verdict, a figure, and what to do about it.

    data, model, loss, optimizer ──▶ sandbox.py ──▶ a check ──▶ Check ──▶ str, HTML, plot
                                     copies, own    measures,   check.py
                                     random state   judges

=====================  ============================================================================
check.py, figures.py   what a check returns, and what the pictures share
sandbox.py             copies to experiment with, so that nothing of the caller's changes
layer_values.py        what every layer computes, from a program that keeps all its values
one file a check       preprocessing, initial_loss, regularization, overfit, learning_rate,
                       activations, initialization, batchnorm, gradients, training
monitor.py             a callback that watches while a training runs
babysit.py, report.py  the course's seven steps in their order, and the page about them
=====================  ============================================================================

A check collects faults, which fail it, and notes, which don't. Thresholds stand at the top of each
file with their reasons: they are set so that a network with usual settings raises no alarm, and
tests/diagnostics/test_babysit.py holds them to it.
"""

from fastnn.diagnostics.activations import activation_statistics
from fastnn.diagnostics.babysit import babysit
from fastnn.diagnostics.batchnorm import batchnorm_check
from fastnn.diagnostics.check import Check
from fastnn.diagnostics.gradients import gradient_check
from fastnn.diagnostics.initial_loss import initial_loss_check
from fastnn.diagnostics.initialization import initialization_study
from fastnn.diagnostics.learning_rate import learning_rate_range
from fastnn.diagnostics.monitor import Monitor, TrainingWarning
from fastnn.diagnostics.overfit import overfit_check
from fastnn.diagnostics.preprocessing import preprocessing_check
from fastnn.diagnostics.regularization import regularization_check
from fastnn.diagnostics.report import Report
from fastnn.diagnostics.training import training_check

__all__ = [
    "Check",
    "Monitor",
    "Report",
    "TrainingWarning",
    "activation_statistics",
    "babysit",
    "batchnorm_check",
    "gradient_check",
    "initial_loss_check",
    "initialization_study",
    "learning_rate_range",
    "overfit_check",
    "preprocessing_check",
    "regularization_check",
    "training_check",
]
