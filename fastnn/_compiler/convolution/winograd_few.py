"""Winograd's convolution for few tiles (fastnn/_core/kernels/conv_winograd_few.pyx)."""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import FORWARD, Algorithm, Workspace
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.convolution.winograd import (
    GROUP_TILES,
    POINTS,
    PRODUCTS,
    UNIT,
    UNIT_PLANES,
    whole_units,
)
from fastnn._compiler.operators.base import Size

# Of conv_winograd_few.pyx.
OUTPUTS = 4  # of a tile, along an axis
MOST_GROUP = 4  # tiles, on any instruction set
MOST_LANES = 16


def tiles_of_image(geometry: Geometry) -> int:
    height, width = geometry.out_image
    return -(-height // OUTPUTS) * -(-width // OUTPUTS)


class WinogradFew(Algorithm):
    """F(4 x 4, 3 x 3) that keeps the weights as they are and transforms them at every run.

    With few tiles reading the transformed weights, four times as many, takes longer than making
    them.
    """

    name = "winograd_few"

    def fits(self, geometry: Geometry, direction: str) -> bool:
        return (
            direction == FORWARD
            and geometry.kernel == (3, 3)
            and geometry.stride == (1, 1)
            and geometry.dilation == (1, 1)
            and geometry.groups == 1
        )

    def prepared_elements(self, geometry: Geometry, direction: str) -> int:
        return geometry.taps * geometry.channels * whole_units(geometry.filters)

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        channels = whole_units(geometry.channels)
        tiles = Size(tiles_of_image(geometry))
        in_groups = tiles + MOST_GROUP
        groups = tiles * (1 / GROUP_TILES) + 1
        return Workspace(
            per_thread=itemsize * PRODUCTS * MOST_LANES * in_groups,
            shared=itemsize
            * (
                PRODUCTS * channels * in_groups
                + channels // UNIT * UNIT_PLANES * groups
                + POINTS * channels
            ),
        )
