"""Depthwise convolution: every channel has one filter of its own."""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import BACKWARD_PARAMETERS, Algorithm, Workspace
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._core.dispatch import constants

# Parts of the sum over pixels.
CHUNKS = constants("conv_depthwise_parameters").CHUNKS
# What the kernel knows of a tap: three numbers.
TAP_BYTES = 3 * 8
# The widest vector: sums of a chunk lie in whole vectors.
VECTOR_BYTES = 64


class Depthwise(Algorithm):
    """Vectors of channels, a tap at a time, for any kernel, stride, dilation and padding."""

    name = "depthwise"

    def fits(self, geometry: Geometry, direction: str) -> bool:
        return geometry.groups == geometry.channels == geometry.filters

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        taps = geometry.taps * TAP_BYTES
        if direction != BACKWARD_PARAMETERS:
            return Workspace(per_thread=taps)
        row = -(-geometry.channels * itemsize // VECTOR_BYTES) * VECTOR_BYTES
        return Workspace(per_thread=taps, shared=CHUNKS * (geometry.taps + 1) * row)
