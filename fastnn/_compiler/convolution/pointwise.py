"""Convolution by kernels of one pixel."""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import BACKWARD_PARAMETERS, Algorithm, Workspace
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.operators.base import PANEL_WORKSPACE_BYTES


class Pointwise(Algorithm):
    """The fully connected layer on every pixel, by its own kernels (kernels/linear.pyx).

    Not for the gradient of the weights: its sum over all pixels is longer than that of any layer,
    and `direct` has the better order for it.
    """

    name = "pointwise"

    def fits(self, geometry: Geometry, direction: str) -> bool:
        return (
            direction != BACKWARD_PARAMETERS
            and geometry.kernel == (1, 1)
            and geometry.stride == (1, 1)
            and geometry.padding == (0, 0)
            and geometry.image == geometry.out_image
            and geometry.groups == 1
        )

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        return Workspace(per_thread=PANEL_WORKSPACE_BYTES)
