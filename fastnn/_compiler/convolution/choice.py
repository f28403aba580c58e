"""Which algorithm computes a convolution: by its shape alone, in one place.

=================  ================================================================================
depthwise          every channel has one filter of its own
space_to_depth     few channels and a large stride, whose blocks of pixels are channels of a kernel
                   that Winograd's algorithm takes (11 x 11 by 4)
winograd           3 x 3 and 5 x 5 kernels, stride 1, and enough channels on both sides to pay for
                   the transforms
direct             everything else
=================  ================================================================================

`im2col` is never chosen by itself: it is the textbook's way, for comparison.
"""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import (
    BACKWARD_INPUT,
    BACKWARD_PARAMETERS,
    Algorithm,
)
from fastnn._compiler.convolution.depthwise import Depthwise
from fastnn._compiler.convolution.direct import Direct
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.convolution.im2col import Im2col
from fastnn._compiler.convolution.space_to_depth import SpaceToDepth
from fastnn._compiler.convolution.winograd import Winograd

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (Depthwise(), SpaceToDepth(), Winograd(), Direct(), Im2col())
}
# What a user may ask for.
REQUESTS = ("auto", "im2col", "winograd", "direct")
# Below these many channels the transforms cost more than the products that they save.
WINOGRAD_CHANNELS = 16


def choose(geometry: Geometry, direction: str, request: str = "auto") -> Algorithm:
    """The algorithm of one direction ("forward", "backward_input", "backward_parameters").

    Raises
    ------
    ValueError
        If the requested algorithm can't compute this convolution.
    """
    if request != "auto":
        algorithm = ALGORITHMS[request]
        if not algorithm.fits(geometry):
            raise ValueError(
                f"algorithm {request!r} does not compute a kernel of {geometry.kernel} with stride "
                f"{geometry.stride}, dilation {geometry.dilation} and {geometry.groups} groups; "
                "'auto' takes one that does"
            )
        return algorithm
    if geometry.groups > 1 and ALGORITHMS["depthwise"].fits(geometry):
        return ALGORITHMS["depthwise"]
    if direction != BACKWARD_INPUT and ALGORITHMS["space_to_depth"].fits(geometry):
        return ALGORITHMS["space_to_depth"]
    fewest = min(geometry.channels, geometry.filters)
    if ALGORITHMS["winograd"].fits(geometry) and fewest >= WINOGRAD_CHANNELS:
        return ALGORITHMS["winograd"]
    if ALGORITHMS["direct"].fits(geometry):
        return ALGORITHMS["direct"]
    return ALGORITHMS["im2col"]


__all__ = ["ALGORITHMS", "BACKWARD_INPUT", "BACKWARD_PARAMETERS", "REQUESTS", "choose"]
