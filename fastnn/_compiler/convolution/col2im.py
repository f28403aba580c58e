"""The gradient of a convolution's input by a product and col2im (kernels/conv_col2im.pyx)."""

from __future__ import annotations

from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT, Algorithm, Workspace
from fastnn._compiler.convolution.geometry import Geometry
from fastnn._core.dispatch import constants

UNIT = constants("conv_col2im").UNIT
BAND_ELEMENTS = constants("conv_col2im").BAND_ELEMENTS
# The kernel's tables are of Py_ssize_t.
TABLE_ITEMSIZE = 8


class Col2im(Algorithm):
    """What each pixel of dy says about its patch, as a product; then each input pixel adds up."""

    name = "col2im"

    def fits(self, geometry: Geometry, direction: str) -> bool:
        return direction == BACKWARD_INPUT and geometry.groups == 1

    def prepared_elements(self, geometry: Geometry, direction: str) -> int:
        return -(-geometry.depth // UNIT) * UNIT * geometry.filters

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        (kernel_height, kernel_width), (out_height, out_width) = geometry.kernel, geometry.out_image
        row = (-(-geometry.depth // UNIT) | 1) * UNIT
        # Rows of dy that see one row of dx.
        reach = (kernel_height - 1) * geometry.dilation[0] // geometry.stride[0] + 1
        columns = max(BAND_ELEMENTS, min(reach, out_height) * out_width * row)
        tables = geometry.image[1] * (kernel_width + 1) + kernel_height
        return Workspace(per_thread=columns * itemsize + tables * TABLE_ITEMSIZE)
