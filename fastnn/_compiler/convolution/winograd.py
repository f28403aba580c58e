"""Winograd's convolution (fastnn/_core/kernels/conv_winograd.pyx): where it fits, what it needs."""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import (
    BACKWARD_INPUT,
    BACKWARD_PARAMETERS,
    FORWARD,
    Algorithm,
    Workspace,
)
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._core.dispatch import constants

# The kernels tell why these numbers are what they are.
BLOCKS = constants("conv_winograd")
GRADIENT = constants("conv_winograd_gradient")
PRODUCTS = BLOCKS.PRODUCTS
UNIT = BLOCKS.UNIT
BLOCK_BYTES = BLOCKS.BLOCK_BYTES
BLOCK_TILES = BLOCKS.BLOCK_TILES
MOST_BLOCK_TILES = BLOCKS.MOST_BLOCK_TILES
TEAM_TILES = BLOCKS.TEAM_TILES
TEAM_WORTH_BYTES = BLOCKS.TEAM_WORTH_BYTES
GRADIENT_BLOCK_BYTES = GRADIENT.GRADIENT_BLOCK_BYTES
SUMS_BYTES = GRADIENT.SUMS_BYTES
MOST_CHUNKS = GRADIENT.MOST_CHUNKS
TASK_CHANNELS = GRADIENT.TASK_CHANNELS
MOST_PANEL_COLUMNS = 48  # of a panel of matmul.pxd, on any instruction set


def whole_units(channels: int) -> int:
    return -(-channels // UNIT) * UNIT


def block_tiles(bytes_of_block: int, bytes_of_tile: int) -> int:
    """Tiles of a block whose planes fit a cache."""
    tiles = bytes_of_block // bytes_of_tile // BLOCK_TILES * BLOCK_TILES
    return min(max(tiles, BLOCK_TILES), MOST_BLOCK_TILES)


class Winograd(Algorithm):
    """F(4 x 4, 3 x 3) and F(2 x 2, 5 x 5): 36 products instead of 144, or of 100."""

    name = "winograd"

    def fits(self, geometry: Geometry, direction: str) -> bool:
        return (
            geometry.kernel in ((3, 3), (5, 5))
            and geometry.stride == (1, 1)
            and geometry.dilation == (1, 1)
            and geometry.groups == 1
        )

    def prepared_elements(self, geometry: Geometry, direction: str) -> int:
        if direction == FORWARD:
            return PRODUCTS * self._weight_plane(geometry.channels, geometry.filters)
        if direction == BACKWARD_INPUT:
            return PRODUCTS * self._weight_plane(geometry.filters, geometry.channels)
        return 0

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        channels, filters = whole_units(geometry.channels), whole_units(geometry.filters)
        wide = max(channels, filters)
        if direction != BACKWARD_PARAMETERS:
            tiles = block_tiles(BLOCK_BYTES, PRODUCTS * wide * itemsize)
            team = wide + 2 * PRODUCTS * (TEAM_TILES * wide + UNIT)
            if self.prepared_elements(geometry, direction) * itemsize <= TEAM_WORTH_BYTES:
                team = 0
            return Workspace(
                per_thread=itemsize * (wide + (PRODUCTS + 1) * (tiles * wide + UNIT)),
                shared=itemsize * team,
            )
        tiles = block_tiles(GRADIENT_BLOCK_BYTES, PRODUCTS * (channels + filters) * itemsize)
        planes = wide + PRODUCTS * (tiles * (channels + filters) + 2 * UNIT)
        sums = PRODUCTS * self._weight_plane(geometry.channels, geometry.filters) + filters
        chunks = max(1, min(SUMS_BYTES // (sums * itemsize), MOST_CHUNKS))
        # The planes of a block are a thread's, or the team's; then a thread may hold a task's sums.
        of_task = PRODUCTS * (TASK_CHANNELS * MOST_PANEL_COLUMNS + UNIT)
        return Workspace(
            per_thread=itemsize * max(planes, of_task),
            shared=itemsize * (chunks * sums + planes),
        )

    @staticmethod
    def _weight_plane(channels: int, filters: int) -> int:
        return channels * whole_units(filters) + UNIT
