"""Windows of pooling along one axis, as tables that the kernels read (kernels/pooling.pxd)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Windows:
    """The windows of one axis.

    Attributes
    ----------
    length : of the input
    taps : for each output, the (number, position) of those taps that lie on the input, in order
    divisors : for each output, how many positions an average divides by
    kernel : taps of a whole window
    dilation : distance of two taps
    stride : distance of two windows; 1 if it varies
    """

    length: int
    taps: tuple[tuple[tuple[int, int], ...], ...]
    divisors: tuple[int, ...]
    kernel: int
    dilation: int = 1
    stride: int = 1

    @property
    def out_length(self) -> int:
        """How many outputs there are."""
        return len(self.taps)

    def covers(self) -> list[list[tuple[int, int]]]:
        """For each input position, the (output, number) of the taps that lie on it."""
        covers: list[list[tuple[int, int]]] = [[] for _ in range(self.length)]
        for output, taps in enumerate(self.taps):
            for number, position in taps:
                covers[position].append((output, number))
        return covers

    def are_apart(self) -> bool:
        """Whether every window ends before the next begins.

        Two windows whose taps lie `dilation` apart may share no position and yet lie one in the
        other.
        """
        full = [taps for taps in self.taps if taps]
        return all(before[-1][1] < after[0][1] for before, after in pairwise(full))

    def least_covers(self) -> int:
        """The fewest."""
        return min(len(cover) for cover in self.covers())

    def sizes(self) -> list[int]:
        """What the kernels are told besides the tables.

        Windows with a tap on one position lie lcm(stride, dilation) apart.
        """
        common = math.gcd(self.stride, self.dilation)
        return [
            *(self.length, self.out_length, self.dilation),
            *(self.dilation // common, self.stride // common),
        ]

    def tables(self) -> np.ndarray:
        """A row for each output, then one for each input position; int64."""
        windows, end = [], 0
        for taps, divisor in zip(self.taps, self.divisors, strict=True):
            # A window with no tap on the input lies behind the one before it.
            number, first = taps[0] if taps else (0, end)
            windows.append((first, len(taps), number, divisor))
            end = taps[-1][1] + 1 if taps else end
        inputs = [
            (cover[0][0], len(cover), cover[0][1], 0) if cover else (0, 0, 0, 0)
            for cover in self.covers()
        ]
        return np.array([*windows, *inputs], np.int64)


def sliding_windows(
    length: int,
    kernel: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    count_padding: bool = True,
) -> Windows:
    """Windows at equal distances, as PyTorch's pooling has them.

    With `ceil_mode` the last window may go beyond the padding, but begins before its end. Averages
    count the padding (never what lies beyond it) if `count_padding`.
    """
    span = dilation * (kernel - 1) + 1
    beyond = length + 2 * padding - span
    out_length = (-(-beyond // stride) if ceil_mode else beyond // stride) + 1
    if ceil_mode and (out_length - 1) * stride >= length + padding:
        out_length -= 1
    if out_length < 1:
        raise ValueError(
            f"got {length} pixels with {padding} of padding, expected at least {span}, the "
            "extent of the kernel"
        )
    taps, divisors = [], []
    for output in range(out_length):
        start = output * stride - padding
        positions = [(tap, start + tap * dilation) for tap in range(kernel)]
        taps.append(tuple((tap, at) for tap, at in positions if 0 <= at < length))
        counted = min(start + kernel, length + padding) - start
        divisors.append(counted if count_padding else len(taps[-1]))
    return Windows(length, tuple(taps), tuple(divisors), kernel, dilation, stride)


def adaptive_windows(length: int, out_length: int) -> Windows:
    """`out_length` windows that cover the axis evenly; they overlap where it doesn't divide."""
    taps = []
    for output in range(out_length):
        start = output * length // out_length
        end = -(-(output + 1) * length // out_length)
        taps.append(tuple(enumerate(range(start, end))))
    counts = tuple(len(positions) for positions in taps)
    return Windows(length, tuple(taps), counts, max(counts))
