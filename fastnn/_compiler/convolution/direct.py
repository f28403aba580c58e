"""Convolution as a product with patches that are never written out."""

from __future__ import annotations

from typing import NamedTuple

from fastnn._compiler.convolution.algorithm import (
    BACKWARD_INPUT,
    BACKWARD_PARAMETERS,
    FORWARD,
    Algorithm,
    Workspace,
)
from fastnn._core.dispatch import constants

# A band of the padded input.
BAND_ELEMENTS = constants("conv_direct").BAND_ELEMENTS
BAND_PIXELS = constants("conv_direct").BAND_PIXELS
# Partial gradients of the parameters.
PARTS = constants("conv_direct_parameters").PARTS
PARTIAL_ELEMENTS = constants("conv_direct_parameters").PARTIAL_ELEMENTS
# Lanes of the widest vector: what panels are rounded up to at the most.
MOST_LANES = 16
# The kernels' tables are of ints.
TABLE_ITEMSIZE = 4


class Direct(Algorithm):
    """An implicit product: register tiles read the patches where they lie in the image.

    For any stride, padding, dilation and groups (depthwise is slow: a vector holds the channels of
    one group only). A thread holds a band of the padded image and tables of offsets into it.
    """

    name = "direct"

    def fits(self, geometry, direction):
        """Offsets inside of an image, and inside of the weights, have to fit an int."""
        sizes = (
            elements_of_rows(input_patches(geometry), geometry.channels, geometry.out_image[0]),
            elements_of_rows(gradient_patches(geometry), geometry.filters, geometry.image[0]),
            geometry.image[0] * geometry.image[1] * geometry.channels,
            geometry.pixels * geometry.filters,
            (geometry.depth + 1) * geometry.filters,
        )
        return max(sizes) < 2**31

    def prepared_elements(self, geometry, direction):
        channels = geometry.channels // geometry.groups
        filters = geometry.filters // geometry.groups
        if direction == FORWARD:
            return geometry.groups * geometry.taps * channels * whole(filters)
        if direction == BACKWARD_INPUT:
            return geometry.groups * geometry.taps * filters * whole(channels)
        return 0

    def workspace(self, geometry, direction, itemsize):
        if direction == BACKWARD_INPUT:
            patches, channels = gradient_patches(geometry), geometry.filters
            depth = geometry.taps * geometry.filters // geometry.groups
        else:
            patches, channels = input_patches(geometry), geometry.channels
            depth = geometry.depth
        band = max(BAND_ELEMENTS, elements_of_rows(patches, channels, 1))
        # Pixels and their outputs, taps and the rows of their gradients.
        tables = 2 * max(BAND_PIXELS, patches[1].grid) + 2 * depth
        per_thread = band * itemsize + tables * TABLE_ITEMSIZE
        if direction != BACKWARD_PARAMETERS:
            return Workspace(per_thread)
        partial = (geometry.depth + 1) * geometry.filters
        parts = min(max(PARTIAL_ELEMENTS // partial, 1), PARTS)
        return Workspace(per_thread, parts * partial * itemsize)


class Patches(NamedTuple):
    """A grid of patches in one direction, as in fastnn/_core/kernels/patches.pxd."""

    grid: int
    stride: int
    reach: int


def input_patches(geometry):
    """Those of the input that make the output; a pair (height, width)."""
    return [
        Patches(
            geometry.out_image[d],
            geometry.stride[d],
            (geometry.kernel[d] - 1) * geometry.dilation[d] + 1,
        )
        for d in (0, 1)
    ]


def gradient_patches(geometry):
    """Those of the output's gradient that make the input's; a pair (height, width)."""
    return [
        Patches(
            (geometry.image[d] - 1 + geometry.padding[d]) // geometry.stride[d]
            + 1
            - geometry.padding[d] // geometry.stride[d],
            1,
            (geometry.kernel[d] - 1) * geometry.dilation[d] // geometry.stride[d] + 1,
        )
        for d in (0, 1)
    ]


def elements_of_rows(patches, channels, rows):
    """Elements of the padded image that `rows` rows of the grid see."""
    height, width = patches
    padded_rows = (rows - 1) * height.stride + height.reach
    return padded_rows * ((width.grid - 1) * width.stride + width.reach) * channels


def whole(columns):
    """Rounded up to vectors."""
    return -(-columns // MOST_LANES) * MOST_LANES
