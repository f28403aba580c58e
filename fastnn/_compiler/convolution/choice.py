"""Which algorithm computes a convolution: by its shape, and the batch of inference, in one place.

=================  ================================================================================
depthwise          every channel has one filter of its own
pointwise          kernels of one pixel
space_to_depth     few channels and a large stride, whose blocks of pixels are channels of a kernel
                   that Winograd's algorithm takes (11 x 11 by 4)
col2im             the input's gradient, where channels fill no vectors, or where the output is so
                   much smaller than the input that others multiply mostly with zeros around it
winograd_few       3 x 3 kernels, stride 1, in the inference of an image or a few, where reading the
                   weights takes longer than the products
winograd           3 x 3 and 5 x 5 kernels, stride 1, and enough channels on both sides to pay for
                   the transforms
direct             everything else
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
from fastnn._compiler.convolution.pointwise import Pointwise
from fastnn._compiler.convolution.space_to_depth import SpaceToDepth
from fastnn._compiler.convolution.winograd import PRODUCTS, UNIT, Winograd
from fastnn._compiler.convolution.winograd_few import WinogradFew, tiles_of_image

# In the order of preference.
ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Depthwise(),
        Pointwise(),
        SpaceToDepth(),
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
# Measured, in vectors of multiply-adds: of a tile and a vector of channels the transforms of
# Winograd's algorithm, and an addition to a pixel of what lies in columns.
TRANSFORM_COST = 380
COLUMN_COST = 2
# Fewer operations have to be that much fewer to be worth the columns' way through the caches.
COL2IM_ADVANTAGE = 0.8
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
            if algorithm.fits(geometry, direction) and pays(algorithm, geometry, largest_batch)
        )
    algorithm = ALGORITHMS[request]
    if not algorithm.fits(geometry, direction):
        raise ValueError(
            f"algorithm {request!r} does not compute a kernel of {geometry.kernel} with stride "
            f"{geometry.stride}, dilation {geometry.dilation} and {geometry.groups} groups; "
            "'auto' takes one that does"
        )
    return algorithm


def pays(algorithm: Algorithm, geometry: Geometry, largest_batch: int | None) -> bool:
    """Whether an algorithm that fits is the fastest of those after it."""
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


def col2im_pays(geometry: Geometry) -> bool:
    """Whether the input's gradient takes fewer operations than by Winograd's tiles or directly.

    Operations are multiply-adds of the widest vector, of one image.
    """
    channels, filters = (-(-count // UNIT) for count in (geometry.channels, geometry.filters))
    columns = -(-geometry.depth // UNIT)
    additions = geometry.pixels * geometry.taps * channels * COLUMN_COST
    by_columns = geometry.pixels * geometry.filters * columns + additions
    winograd = ALGORITHMS["winograd"]
    if winograd.fits(geometry, BACKWARD_INPUT) and pays(winograd, geometry, None):
        outputs = 7 - geometry.kernel[0]
        tiles = -(-geometry.image[0] // outputs) * -(-geometry.image[1] // outputs)
        of_tile = PRODUCTS * geometry.filters * channels + TRANSFORM_COST * (channels + filters)
        return by_columns < COL2IM_ADVANTAGE * tiles * of_tile
    # Every pixel meets every stride-th tap, whether there is an output or not.
    strides = geometry.stride[0] * geometry.stride[1]
    inputs = geometry.image[0] * geometry.image[1]
    directly = inputs * geometry.taps / strides * geometry.filters * channels
    return by_columns < COL2IM_ADVANTAGE * directly
