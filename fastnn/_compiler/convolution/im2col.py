"""Convolution by an explicit patch matrix: the textbook's way, and the reference of the others."""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import BACKWARD_PARAMETERS, Algorithm, Workspace
from fastnn._compiler.operators.base import PANEL_WORKSPACE_BYTES
from fastnn._core.dispatch import constants

# Of the partial gradients of the parameters.
PARTS = constants("im2col").PARTS


class Im2col(Algorithm):
    """Writes each patch of an image as a row of a matrix, and multiplies it with the weights.

    For any convolution. A thread holds the patch matrix (pixels, depth) of one image and group.
    """

    name = "im2col"

    def workspace(self, geometry, direction, itemsize):
        columns = geometry.pixels * geometry.depth
        weights = geometry.depth * geometry.filters
        if direction != BACKWARD_PARAMETERS:
            return Workspace(PANEL_WORKSPACE_BYTES + columns * itemsize)
        return Workspace(
            PANEL_WORKSPACE_BYTES + (columns + weights) * itemsize,
            PARTS * (weights + geometry.filters) * itemsize,
        )
