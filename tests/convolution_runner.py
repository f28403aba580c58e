"""Runs the kernels of one algorithm of convolution on arrays, for tests and measurements."""

from __future__ import annotations

import numpy as np
from fastnn._core.aligned import aligned_empty
from kernel_runner import aligned, kernel_program

from fastnn._compiler.activations import KINDS
from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT, BACKWARD_PARAMETERS, FORWARD
from fastnn._compiler.convolution.col2im import Col2im
from fastnn._compiler.convolution.direct import Direct
from fastnn._compiler.convolution.im2col import Im2col
from fastnn._compiler.operators.base import Size

# Col2im computes the input's gradient only, and of one group.
ALGORITHMS = {algorithm.name: algorithm for algorithm in (Im2col(), Direct(), Col2im())}
# Elements behind an output that no kernel may touch.
GUARD = 32
UNTOUCHED = 12345.0


class Convolution:
    """One convolution by one algorithm; a method runs a kernel and returns its outputs."""

    def __init__(self, name, geometry, dtype, threads=1, with_bias=True):
        self.algorithm = ALGORITHMS[name]
        self.geometry = geometry
        self.dtype = dtype
        self.threads = threads
        self.with_bias = with_bias
        self.guarded = []
        self.program = None

    def output(self, shape):
        """An array full of NaN, and behind it a guard."""
        size = int(np.prod(shape))
        memory = aligned_empty(size + GUARD, self.dtype)
        memory[:size] = np.nan
        memory[size:] = UNTOUCHED
        self.guarded.append(memory[size:])
        return memory[:size].reshape(shape)

    def run(self, kernel, direction, data, batch, activation="identity", slope=0.0):
        """Runs a kernel once; the program stays, to be timed."""
        itemsize = np.dtype(self.dtype).itemsize
        workspace = self.algorithm.workspace(self.geometry, direction, itemsize)

        def at(size):
            return int(size.at(batch)) if isinstance(size, Size) else int(size)

        self.program = kernel_program(
            f"conv2d_{self.algorithm.name}_{kernel}",
            self.dtype,
            data,
            self.geometry.sizes(KINDS[activation], direction == BACKWARD_INPUT),
            [slope],
            at(workspace.per_thread),
            at(workspace.shared),
            self.threads,
            batch,
        )
        self.program.forward()
        for guard in self.guarded:
            assert np.all(guard == UNTOUCHED), f"{kernel} wrote beyond an output"

    def prepared(self, weight, direction):
        """The weights as the kernel of a direction reads them."""
        weight = aligned(weight)
        elements = self.algorithm.prepared_elements(self.geometry, direction)
        if elements == 0:
            return weight
        prepared = self.output((elements,))
        self.run("weight", direction, [prepared, weight], 1)
        return prepared

    def forward(self, x, weight, bias=None, activation="identity", slope=0.0):
        """y"""
        y = self.output((len(x), *self.geometry.out_image, self.geometry.filters))
        prepared = self.prepared(weight, FORWARD)
        bias = None if bias is None else aligned(bias)
        self.run("forward", FORWARD, [y, aligned(x), prepared, bias], len(x), activation, slope)
        return y

    def backward_input(self, dy, weight, x=None, activation="identity", slope=0.0):
        """dx"""
        dx = self.output((len(dy), *self.geometry.image, self.geometry.channels))
        prepared = self.prepared(weight, BACKWARD_INPUT)
        x = None if x is None else aligned(x)
        data = [dx, aligned(dy), prepared, x]
        self.run("backward_input", BACKWARD_INPUT, data, len(dy), activation, slope)
        return dx

    def backward_parameters(self, x, dy):
        """dweight, dbias"""
        geometry = self.geometry
        channels = geometry.channels // geometry.groups
        dweight = self.output((*geometry.kernel, channels, geometry.filters))
        dbias = self.output((geometry.filters,)) if self.with_bias else None
        data = [dweight, dbias, aligned(x), aligned(dy)]
        self.run("backward_parameters", BACKWARD_PARAMETERS, data, len(x))
        return dweight, dbias
