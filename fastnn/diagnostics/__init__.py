"""The checks of the course: each gives a verdict, a figure, and what to do about it."""

from fastnn.diagnostics.check import Check
from fastnn.diagnostics.initial_loss import initial_loss_check

__all__ = ["Check", "initial_loss_check"]
