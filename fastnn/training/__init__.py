"""Training: the compiled step, and the loop around it."""

from fastnn.training.divergence import TrainingDiverged
from fastnn.training.step import TrainingStep

__all__ = ["TrainingDiverged", "TrainingStep"]
