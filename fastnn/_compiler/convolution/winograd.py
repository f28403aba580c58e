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

# Numbers of conv_winograd.pyx.
PRODUCTS = 36
UNIT = 16
BLOCK_BYTES = 524288
BLOCK_TILES = 24
MOST_BLOCK_TILES = 96
TEAM_TILES = 96
CHUNK_BYTES = 400000
CHUNKS = 8


def whole_units(channels: int) -> int:
    return -(-channels // UNIT) * UNIT


def block_tiles(wide: int, itemsize: int) -> int:
    """Tiles of a block, whose planes fit the second-level cache."""
    tiles = BLOCK_BYTES // (PRODUCTS * wide * itemsize) // BLOCK_TILES * BLOCK_TILES
    return min(max(tiles, BLOCK_TILES), MOST_BLOCK_TILES)


class Winograd(Algorithm):
    """F(4 x 4, 3 x 3) and F(2 x 2, 5 x 5): 36 products instead of 144, or of 100."""

    name = "winograd"

    def fits(self, geometry: Geometry) -> bool:
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
        tiles = block_tiles(wide, itemsize)
        if direction != BACKWARD_PARAMETERS:
            return Workspace(
                per_thread=itemsize * (wide + (PRODUCTS + 1) * (tiles * wide + UNIT)),
                shared=itemsize * (wide + 2 * PRODUCTS * (TEAM_TILES * wide + UNIT)),
            )
        chunk = PRODUCTS * self._weight_plane(geometry.channels, geometry.filters) + filters
        # Small sums: one set for each chunk of the tiles. Large ones: one, and the team's planes.
        shared = CHUNKS * chunk
        if chunk * itemsize > CHUNK_BYTES:
            shared = chunk
        shared = max(shared, chunk + self._gradient_planes(channels, filters, TEAM_TILES))
        return Workspace(
            per_thread=itemsize * self._gradient_planes(channels, filters, tiles),
            shared=itemsize * shared,
        )

    @staticmethod
    def _weight_plane(channels: int, filters: int) -> int:
        return channels * whole_units(filters) + UNIT

    @staticmethod
    def _gradient_planes(channels: int, filters: int, tiles: int) -> int:
        """Elements of the planes of x and of dy, and of a row of zeros."""
        return max(channels, filters) + PRODUCTS * (tiles * (channels + filters) + 2 * UNIT)
