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
POINTS = BLOCKS.POINTS
PRODUCTS = BLOCKS.PRODUCTS
UNIT = BLOCKS.UNIT
GROUP_TILES = BLOCKS.GROUP_TILES
UNIT_PLANES = BLOCKS.UNIT_PLANES
BLOCK_BYTES = BLOCKS.BLOCK_BYTES
MOST_GROUPS = BLOCKS.MOST_GROUPS
TEAM_WORTH_BYTES = BLOCKS.TEAM_WORTH_BYTES
GRADIENT_BLOCK_BYTES = GRADIENT.GRADIENT_BLOCK_BYTES
SUMS_BYTES = GRADIENT.SUMS_BYTES
MOST_CHUNKS = GRADIENT.MOST_CHUNKS
TASK_CHANNELS = GRADIENT.TASK_CHANNELS
MOST_PANEL_COLUMNS = 48  # of a panel of matmul.pxd, on any instruction set


def whole_units(channels: int) -> int:
    return -(-channels // UNIT) * UNIT


def block_groups(bytes_of_block: int, units: int, itemsize: int) -> int:
    """Groups of tiles whose planes fit a cache."""
    return min(max(bytes_of_block // (units * UNIT_PLANES * itemsize), 1), MOST_GROUPS)


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
        zeros = POINTS * max(channels, filters)
        if direction != BACKWARD_PARAMETERS:
            units = max(channels, filters) // UNIT
            groups = block_groups(BLOCK_BYTES, units, itemsize)
            team = zeros + 2 * MOST_GROUPS * units * UNIT_PLANES
            if self.prepared_elements(geometry, direction) * itemsize <= TEAM_WORTH_BYTES:
                team = 0
            return Workspace(
                per_thread=itemsize * (zeros + groups * units * UNIT_PLANES),
                shared=itemsize * team,
            )
        units = (channels + filters) // UNIT
        groups = block_groups(GRADIENT_BLOCK_BYTES, units, itemsize)
        planes = zeros + groups * units * UNIT_PLANES
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
