"""The checks of the course: each gives a verdict, a figure, and what to do about it."""

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
