"""Which algorithm computes a convolution: by its shape, and the batch of inference, in one place.

=================  ================================================================================
depthwise          every channel has one filter of its own
pointwise          kernels of one pixel
space_to_depth     few channels and a large stride, whose blocks of pixels are channels of a kernel
                   that Winograd's algorithm takes (11 x 11 by 4)
winograd_images    3 x 3 and 5 x 5 kernels, stride 1, on small images, where channels fill no
                   vectors; in the input's gradient also where the output is smaller than the input
col2im             the input's gradient, where channels fill no vectors, or where the output is so
                   much smaller than the input that others multiply mostly with zeros around it
winograd_few       3 x 3 kernels, stride 1, in the inference of an image or a few, where reading the
                   weights takes longer than the products
winograd           3 x 3 and 5 x 5 kernels, stride 1, and enough channels on both sides to pay for
                   the transforms
direct             everything else (few channels and filters, as in first layers, by tiles of their
                   own: kernels/row_tile.pxd)
im2col             what has offsets beyond an int; else the textbook's way, for comparison
=================  ================================================================================
"""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT, Algorithm
from fastnn._compiler.convolution.col2im import Col2im
from fastnn._compiler.convolution.depthwise import Depthwise
from fastnn._compiler.convolution.direct import Direct
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.convolution.im2col import Im2col
from fastnn._compiler.convolution.operations import (
    by_columns,
    by_winograd,
    by_winograd_images,
    directly,
)
from fastnn._compiler.convolution.pointwise import Pointwise
from fastnn._compiler.convolution.space_to_depth import SpaceToDepth
from fastnn._compiler.convolution.winograd import UNIT, Winograd
from fastnn._compiler.convolution.winograd_few import WinogradFew, tiles_of_image
from fastnn._compiler.convolution.winograd_images import BAND_ELEMENTS, POINTS, WinogradImages

# In the order of preference.
ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Depthwise(),
        Pointwise(),
        SpaceToDepth(),
        WinogradImages(),
        Col2im(),
        WinogradFew(),
        Winograd(),
        Direct(),
        Im2col(),
    )
}
# What a user may ask for.
REQUESTS = ("auto", "im2col", "winograd", "direct")
# Below these many channels the transforms cost more than the products that they save.
WINOGRAD_CHANNELS = 16
# Fewer operations have to be that much fewer to be worth the columns' way through the caches, or
# the transposes' into lanes of images.
COL2IM_ADVANTAGE = 0.8
IMAGES_ADVANTAGE = 0.85
# With more channels and filters the planes of four tiles leave the second-level cache.
MOST_CHANNELS_OF_IMAGES = 128
# Winograd's algorithm transforms the weights at every run for at most so many tiles, and if there
# are at least so many weights of a tap: fewer, transformed and kept, lie in caches (U takes 5 MB).
FEW_TILES = 8
MANY_WEIGHTS = 32768


def choose(
    geometry: Geometry, direction: str, request: str = "auto", largest_batch: int | None = None
) -> Algorithm:
    """The algorithm of one direction ("forward", "backward_input", "backward_parameters").

    Parameters
    ----------
    largest_batch : of a program of inference, which prepares weights once; None in training

    Raises
    ------
    ValueError
        If the requested algorithm can't compute this convolution.
    """
    if request == "auto":
        return next(
            algorithm
            for algorithm in ALGORITHMS.values()
            if algorithm.fits(geometry, direction)
            and pays(algorithm, geometry, direction, largest_batch)
        )
    algorithm = ALGORITHMS[request]
    if not algorithm.fits(geometry, direction):
        raise ValueError(
            f"algorithm {request!r} does not compute a kernel of {geometry.kernel} with stride "
            f"{geometry.stride}, dilation {geometry.dilation} and {geometry.groups} groups; "
            "'auto' takes one that does"
        )
    return algorithm


def pays(
    algorithm: Algorithm, geometry: Geometry, direction: str, largest_batch: int | None
) -> bool:
    """Whether an algorithm that fits is the fastest of those after it."""
    if algorithm.name == "winograd_images":
        return images_pay(geometry, direction, largest_batch)
    if algorithm.name == "col2im":
        return col2im_pays(geometry)
    if algorithm.name not in ("winograd", "winograd_few"):
        return True
    if min(geometry.channels, geometry.filters) < WINOGRAD_CHANNELS:
        return False
    if largest_batch is None or geometry.kernel != (3, 3):
        return algorithm.name == "winograd"
    tiles = largest_batch * tiles_of_image(geometry)
    if geometry.channels * geometry.filters < MANY_WEIGHTS:
        return algorithm.name == "winograd"
    if tiles == 1:
        return False  # for a single product each, neither reading U nor making it pays
    return algorithm.name == "winograd" or tiles <= FEW_TILES


def operations_of_others(geometry: Geometry, direction: str) -> float:
    """What Winograd's algorithm takes, or where it doesn't fit or pay the direct one."""
    winograd = ALGORITHMS["winograd"]
    if winograd.fits(geometry, direction) and pays(winograd, geometry, direction, None):
        return by_winograd(geometry, direction)
    return directly(geometry, direction)


def col2im_pays(geometry: Geometry) -> bool:
    """Whether the input's gradient takes fewer operations than by Winograd's tiles or directly."""
    others = operations_of_others(geometry, BACKWARD_INPUT)
    return by_columns(geometry) < COL2IM_ADVANTAGE * others


def images_pay(geometry: Geometry, direction: str, largest_batch: int | None) -> bool:
    """Whether lanes are better filled with images than with channels."""
    channels, filters = geometry.channels, geometry.filters
    row_of_tiles = (POINTS + 1 - geometry.kernel[0]) * geometry.out_image[1] * filters
    most_rows = max(POINTS * geometry.image[1] * channels, row_of_tiles)
    if channels + filters > MOST_CHANNELS_OF_IMAGES or most_rows * UNIT > BAND_ELEMENTS:
        return False
    operations = by_winograd_images(geometry, direction)
    if largest_batch is not None:
        operations *= -(-largest_batch // UNIT) * UNIT / largest_batch
    others = operations_of_others(geometry, direction)
    if direction == BACKWARD_INPUT:
        others = min(others, by_columns(geometry))
    return operations < IMAGES_ADVANTAGE * others
