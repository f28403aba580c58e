"""The machine's peak in float32 operations a second, measured: nothing of it is looked up.

Candidates are a loop of fused multiply-adds on registers, compiled here (nothing can be faster),
where there is a C compiler, and large matrix products of NumPy and PyTorch, where installed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np
from timing import PAUSE_SECONDS, elapsed

VECTOR_BYTES, ACCUMULATORS, ROUNDS = 64, 12, 2_000_000
LANES = VECTOR_BYTES // 4
# All numbers come from memory and go back there: of constants, and of results that nobody reads,
# a compiler computes one element in place of sixteen.
SOURCE = f"""
typedef float vector __attribute__((vector_size({VECTOR_BYTES}), aligned(4)));
void fma_loop(long rounds, float *numbers) {{
    vector *memory = (vector *)numbers, a[{ACCUMULATORS}];
    vector b = memory[{ACCUMULATORS}], c = memory[{ACCUMULATORS + 1}];
    for (int k = 0; k < {ACCUMULATORS}; k++) a[k] = memory[k];
    for (long r = 0; r < rounds; r++) {{
        {" ".join(f"a[{k}] = a[{k}] * b + c;" for k in range(ACCUMULATORS))}
    }}
    for (int k = 0; k < {ACCUMULATORS}; k++) memory[k] = a[k];
}}
"""
REPETITIONS = 12


def compiled_loop() -> Callable[[], None] | None:
    """The loop of multiply-adds, or None without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = os.path.join(folder, "peak.c"), os.path.join(folder, "peak.so")
        with open(source, "w") as file:
            file.write(SOURCE)
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-mprefer-vector-width=512"]
        command = [compiler, *flags, "-shared", "-fPIC", source, "-o", library]
        if subprocess.run(command, capture_output=True).returncode:
            return None
        loop = ctypes.CDLL(library).fma_loop
    loop.argtypes, loop.restype = [ctypes.c_long, ctypes.c_void_p], None

    def run() -> None:
        numbers = np.random.default_rng(0).random((ACCUMULATORS + 2) * LANES, dtype=np.float32)
        numbers[-2 * LANES :] *= 0.5
        loop(ROUNDS, numbers.ctypes.data)

    return run


def loop_rate(threads: int) -> float | None:
    """GFLOP/s of the loop on all threads at once (ctypes lets the interpreter go)."""
    loop = compiled_loop()
    if loop is None:
        return None
    best = float("inf")
    for _ in range(REPETITIONS):
        team = [threading.Thread(target=loop) for _ in range(threads)]
        start = time.perf_counter()
        for member in team:
            member.start()
        for member in team:
            member.join()
        best = min(best, time.perf_counter() - start)
    operations = 2 * LANES * ACCUMULATORS * ROUNDS * threads
    return operations / best / 1e9


def product_rate(run: Callable[[], object], size: int) -> float:
    """GFLOP/s of a square product, the best of some."""
    time.sleep(PAUSE_SECONDS)
    run()
    return 2 * size**3 / min(elapsed(run, 1) for _ in range(2 * REPETITIONS)) / 1e9


def numpy_product(size: int) -> Callable[[], object]:
    """A product by NumPy's BLAS."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((size, size), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def measure_peak(threads: int, torch_product: Callable | None) -> dict[str, float]:
    """GFLOP/s by name; the largest is the peak."""
    found: dict[str, float] = {}
    rate = loop_rate(threads)
    if rate is not None:
        found["multiply-add loop"] = rate
    for size in (512, 1024, 2048):
        found[f"NumPy product of {size}"] = product_rate(numpy_product(size), size)
        if torch_product is not None:
            found[f"PyTorch product of {size}"] = product_rate(torch_product(size), size)
    return found
