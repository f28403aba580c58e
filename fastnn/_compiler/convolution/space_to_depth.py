"""Strides: Winograd's convolution on blocks of pixels (fastnn/_core/kernels/space_to_depth.pxd)."""

from __future__ import annotations

from dataclasses import replace

from fastnn._compiler.convolution.algorithm import Algorithm, Workspace
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.convolution.winograd import UNIT, Winograd
from fastnn._compiler.operators.base import Size


def rearranged(geometry: Geometry) -> Geometry:
    """The convolution of stride 1 on blocks of stride x stride pixels, padding among them."""
    stride = geometry.stride[0]
    taps = -(-geometry.kernel[0] // stride)
    return replace(
        geometry,
        image=(geometry.out_image[0] + taps - 1, geometry.out_image[1] + taps - 1),
        channels=geometry.channels * stride * stride,
        kernel=(taps, taps),
        stride=(1, 1),
        padding=(0, 0),
    )


class SpaceToDepth(Algorithm):
    """Large kernels with a stride: 11 x 11 by 4 becomes 3 x 3 on 16 times the channels."""

    name = "space_to_depth"

    def __init__(self) -> None:
        self._winograd = Winograd()

    def fits(self, geometry: Geometry, direction: str) -> bool:
        (height, width), (stride, stride_width) = geometry.kernel, geometry.stride
        return (
            height == width
            and stride == stride_width
            and stride > 1
            and geometry.dilation == (1, 1)
            and geometry.groups == 1
            and self._winograd.fits(rearranged(geometry), direction)
        )

    def prepared_elements(self, geometry: Geometry, direction: str) -> int:
        return self._winograd.prepared_elements(rearranged(geometry), direction)

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        blocks = rearranged(geometry)
        need = self._winograd.workspace(blocks, direction, itemsize)
        image = blocks.image[0] * blocks.image[1] * blocks.channels
        return Workspace(
            need.per_thread, Size(image * itemsize, (UNIT - 1) * itemsize) + need.shared
        )
