"""Winograd's convolution with images in the lanes (kernels/conv_winograd_images.pyx)."""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import BACKWARD_PARAMETERS, Algorithm, Workspace
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.convolution.winograd import POINTS, PRODUCTS, UNIT, whole_units
from fastnn._core.dispatch import constants

BAND_ELEMENTS = constants("conv_winograd_images").BAND_ELEMENTS  # explained there
MOST_TILES = 4  # that are worked on together, on any instruction set
VECTOR_BYTES = 64  # of the widest vector


class WinogradImages(Algorithm):
    """A vector is an element of as many images: channels need not fill any."""

    name = "winograd_images"

    def fits(self, geometry: Geometry, direction: str) -> bool:
        return (
            direction != BACKWARD_PARAMETERS
            and geometry.kernel in ((3, 3), (5, 5))
            and geometry.stride == (1, 1)
            and geometry.dilation == (1, 1)
            and geometry.groups == 1
        )

    def prepared_elements(self, geometry: Geometry, direction: str) -> int:
        return PRODUCTS * (geometry.channels * whole_units(geometry.filters) + UNIT)

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        channels, filters = geometry.channels, geometry.filters
        outputs = POINTS + 1 - geometry.kernel[0]
        row = geometry.image[1] * channels * VECTOR_BYTES
        band = max(min(BAND_ELEMENTS * itemsize, geometry.image[0] * row), POINTS * row)
        row_of_tiles = outputs * geometry.out_image[1] * filters * VECTOR_BYTES
        block = min(MOST_TILES, -(-geometry.out_image[1] // outputs))
        planes = block * (channels + filters) * VECTOR_BYTES + 2 * UNIT * itemsize
        pixels = (POINTS + 1) * max(channels, filters) * VECTOR_BYTES
        return Workspace(per_thread=pixels + band + row_of_tiles + PRODUCTS * planes)
