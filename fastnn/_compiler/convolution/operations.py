"""What an algorithm of convolution costs for an image, in multiply-adds of the widest vector.

An estimate for `choice.py`, from counts of what is computed and a few measured constants. Channels
count up to whole vectors, and tiles that only partly lie in an image as whole ones.
"""

from __future__ import annotations

from math import ceil

from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.convolution.winograd import PRODUCTS, UNIT
from fastnn._compiler.convolution.winograd_images import BAND_ELEMENTS, POINTS

# Of a tile and a vector of channels the transforms of Winograd's algorithm.
TRANSFORM_COST = 380
# The same where lanes are images, by the kernel's size: with 5 x 5 a tile has fewer outputs.
IMAGES_TRANSFORM_COST = {3: 350, 5: 250}
# To bring a vector of elements into such lanes, or out of them.
TRANSPOSE_COST = 18
# An addition to a pixel of what lies in columns.
COLUMN_COST = 2


def by_winograd(geometry: Geometry, direction: str) -> float:
    """Tiles of the image that comes out, with channels in the lanes."""
    image, channels, filters = geometry.out_image, geometry.channels, geometry.filters
    if direction == BACKWARD_INPUT:
        image, channels, filters = geometry.image, filters, channels
    products = PRODUCTS * channels * _vectors(filters)
    transforms = TRANSFORM_COST * (_vectors(channels) + _vectors(filters))
    return _tiles(geometry, image[0]) * _tiles(geometry, image[1]) * (products + transforms)


def by_winograd_images(geometry: Geometry, direction: str) -> float:
    """Tiles of the output in both directions, with images in the lanes."""
    (height, width), channels, filters = geometry.image, geometry.channels, geometry.filters
    down, across = _tiles(geometry, geometry.out_image[0]), _tiles(geometry, geometry.out_image[1])
    products = PRODUCTS * channels * filters / UNIT
    transforms = IMAGES_TRANSFORM_COST[geometry.kernel[0]] * (channels + filters) / UNIT
    transposes = (height * width * channels + geometry.pixels * filters) / UNIT * TRANSPOSE_COST
    if direction == BACKWARD_INPUT:
        # Rows of tiles over the border of two bands are computed for both.
        bands = ceil(height / (BAND_ELEMENTS // (width * channels * UNIT)))
        down += (bands - 1) * ((POINTS - 1) // (POINTS + 1 - geometry.kernel[0]))
    return down * across * (products + transforms) + transposes


def by_columns(geometry: Geometry) -> float:
    """The input's gradient, by a product and col2im."""
    additions = geometry.pixels * geometry.taps * _vectors(geometry.channels) * COLUMN_COST
    return geometry.pixels * geometry.filters * _vectors(geometry.depth) + additions


def directly(geometry: Geometry, direction: str) -> float:
    """A product with patches."""
    if direction != BACKWARD_INPUT:
        return geometry.pixels * geometry.depth * _vectors(geometry.filters)
    # Every pixel meets every stride-th tap, whether there is an output or not.
    inputs = geometry.image[0] * geometry.image[1] / (geometry.stride[0] * geometry.stride[1])
    return inputs * geometry.taps * geometry.filters * _vectors(geometry.channels)


def _tiles(geometry: Geometry, length: int) -> int:
    """Of Winograd's algorithm, along an axis."""
    return -(-length // (POINTS + 1 - geometry.kernel[0]))


def _vectors(count: int) -> int:
    return -(-count // UNIT)
