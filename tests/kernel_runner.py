"""Runs one kernel on arrays, without a graph around it: for tests and measurements of kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fastnn._core.aligned import aligned_empty, aligned_zeros
from fastnn._core.external import External
from fastnn._core.program import ABSENT, ADDRESS, Program

from fastnn._compiler.lower import LoweredStep
from fastnn._compiler.operators.base import Size
from fastnn._core.dispatch import kernels


def aligned(array: np.ndarray, dtype: str | None = None) -> np.ndarray:
    """A copy as a program would hold it: on a cache line, with slack to read beyond the end."""
    array = np.asarray(array, dtype or array.dtype)
    copy = aligned_empty(array.size, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def kernel_program(
    name: str,
    dtype: str,
    data: Sequence[np.ndarray | None],
    sizes: Sequence[int | Size],
    scalars: Sequence[float] = (),
    workspace_per_thread: int = 0,
    shared_workspace: int = 0,
    threads: int = 1,
    batch: int = 1,
) -> Program:
    """A program of one step; `program.load(0, np.empty((batch, 1), dtype))` has been called.

    `program.forward()` runs it, `program.time_steps(n)` gives the shortest time of n runs in
    nanoseconds. Arrays in `data` are read and written where they are.
    """

    def whole(count: int) -> int:
        return -(-count // 64) * 64

    per_thread, shared = whole(workspace_per_thread), whole(shared_workspace)
    operands = [(ABSENT, 0) if a is None else (ADDRESS, a.ctypes.data) for a in data]
    numbers = [s if isinstance(s, Size) else Size(constant=s) for s in sizes]
    step = LoweredStep(
        name,
        kernels(dtype)[name],
        operands,
        [Size(int(s.per_example), int(s.constant)) for s in numbers],
        list(scalars),
        Size(constant=1e9 if threads > 1 else 0),
        per_thread,
    )
    workspace = aligned_empty(per_thread * threads + shared, np.uint8)
    workspace[...] = 255  # NaN, which a kernel that reads before it writes would pass on
    program = Program(
        [step],
        (1, 0, 0),
        [External("batch", (1,), dtype)],
        aligned_zeros(64, np.uint8),
        workspace,
        batch,
        threads,
        list(data),
    )
    program.load(0, np.zeros((batch, 1), dtype))
    return program
