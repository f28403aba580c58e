"""What an algorithm of convolution is to the compiler."""

from __future__ import annotations

from dataclasses import dataclass

from fastnn._compiler.convolution.geometry import Geometry
from fastnn._compiler.operators.base import Size

FORWARD, BACKWARD_INPUT, BACKWARD_PARAMETERS = "forward", "backward_input", "backward_parameters"


@dataclass(frozen=True)
class Workspace:
    """Bytes that a step needs while it runs: for each thread, and once."""

    per_thread: Size | int = 0
    shared: Size | int = 0


class Algorithm:
    """One way to compute a convolution: kernels `conv2d_<name>_forward` and so on.

    ============================  ===============================================================
    kernel                        operands, outputs first; sizes as `Geometry.sizes`
    ============================  ===============================================================
    ..._weight                    prepared, weight; where `prepared_elements` is not zero
    ..._forward                   y, x, prepared or weight, bias or none; scalar: slope
    ..._backward_input            dx, dy, prepared or weight, x or none (the output of the
                                  activation before, whose derivative is applied); scalar: slope
    ..._backward_parameters       dweight, dbias or none, x, dy
    ============================  ===============================================================
    """

    name = ""

    def fits(self, geometry: Geometry, direction: str) -> bool:
        """Whether it can compute this convolution in a direction."""
        return True

    def prepared_elements(self, geometry: Geometry, direction: str) -> int:
        """Elements of the weights in the form that a direction's kernel reads; 0: as they are."""
        return 0

    def workspace(self, geometry: Geometry, direction: str, itemsize: int) -> Workspace:
        """What the kernel of a direction needs."""
        return Workspace()
