"""The machine's peak, measured: how fast it multiplies and adds when it does nothing else."""

from __future__ import annotations

import functools

import numpy as np

from fastnn._compiler.lower import LoweredStep
from fastnn._compiler.operators.base import Size
from fastnn._core.aligned import address_of, aligned_empty, aligned_zeros
from fastnn._core.dispatch import kernels
from fastnn._core.external import External
from fastnn._core.program import ADDRESS, Program

# A run takes some 0.3 ms; the best of them counts, so that a moment's other work does not.
ROUNDS = 100_000
RUNS = 200
# Vectors of at most 64 bytes: what the kernel reads, and what each thread writes.
OPERAND_BYTES = 14 * 64
RESULT_BYTES = 12 * 64


@functools.cache
def peak_flops(dtype: str, threads: int) -> float:
    """Floating-point operations a second of a team of threads; measured once for each."""
    results = aligned_empty(threads * RESULT_BYTES, np.uint8)
    operands = aligned_empty(OPERAND_BYTES // np.dtype(dtype).itemsize, dtype)
    operands[:] = 0.5  # y = y / 2 + 1 / 2 stays between 0.5 and 1
    operations = aligned_zeros(1, np.float64)
    arrays = [results, operations, operands]
    step = LoweredStep(
        "multiply_adds",
        kernels(dtype)["multiply_adds"],
        [(ADDRESS, address_of(array)) for array in arrays],
        [Size(constant=ROUNDS)],
        [],
        Size(constant=1e9),  # worth a team
        0,
    )
    batch, nothing = External("batch", (), "float32"), aligned_zeros(64, np.uint8)
    program = Program([step], (1, 0, 0), [batch], nothing, nothing, 1, threads, arrays)
    program.load(0, np.zeros(1, np.float32))
    nanoseconds = program.time_steps(RUNS)[0]
    return float(operations[0] / nanoseconds * 1e9)
