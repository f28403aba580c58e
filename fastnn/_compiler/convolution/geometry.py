"""The geometry of a convolution: sizes, strides, padding, dilation, groups."""

from __future__ import annotations

from dataclasses import dataclass

from fastnn._compiler.operators.base import BATCH, Size


@dataclass(frozen=True)
class Geometry:
    """Sizes of one convolution; pairs are (height, width). The batch is not part of it.

    Attributes
    ----------
    image, out_image : of the input, and of the output
    channels, filters : channels of the input, and of the output
    padding : zeros (above, left of) the input; those below and to the right follow from `out_image`
    """

    image: tuple[int, int]
    channels: int
    out_image: tuple[int, int]
    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def taps(self) -> int:
        """Elements of a kernel for one channel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def depth(self) -> int:
        """Products that are summed for an element of the output."""
        return self.taps * self.channels // self.groups

    @property
    def pixels(self) -> int:
        """Pixels of an output image."""
        return self.out_image[0] * self.out_image[1]

    def flops(self) -> int:
        """Operations of one image: a multiplication and an addition for each product."""
        return 2 * self.pixels * self.filters * self.depth

    def sizes(self, activation: int = 0, for_backward: bool = False) -> list[Size | int]:
        """The sizes of a step, in the order of fastnn/_core/kernels/convolution.pxd."""
        return [
            *(BATCH, *self.image, self.channels, *self.out_image, self.filters),
            *(*self.kernel, *self.stride, *self.padding, *self.dilation, self.groups),
            *(activation, int(for_backward)),
        ]


def output_length(
    length: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> int:
    """How often a kernel fits: (length + padding - dilation (kernel - 1) - 1) // stride + 1."""
    return (length + before + after - dilation * (kernel - 1) - 1) // stride + 1
