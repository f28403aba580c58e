"""The gradient of an activation over arrays so large that it is written past the caches."""

import numpy as np
import pytest
from kernel_runner import aligned, kernel_program

from fastnn._compiler.activations import KINDS

SLOPE = 0.3
# Twice the size from which on the kernel writes past the caches.
LARGE_BYTES = 16 << 20


def expected(kind, dy, y):
    """dy f'(x), by y."""
    if kind in ("relu", "leaky_relu"):
        return np.where(y > 0, dy, (0 if kind == "relu" else SLOPE) * dy)
    return {
        "sigmoid": lambda: dy * y * (1 - y),
        "tanh": lambda: dy * (1 - y * y),
        "elu": lambda: np.where(y > 0, dy, dy * (y + SLOPE)),
    }[kind]()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "identity"])
def test_large_gradients(kind, dtype):
    """Odd ends, any number of threads, in place or not, on a vector's boundary or not."""
    n = LARGE_BYTES // np.dtype(dtype).itemsize + 4099
    rng = np.random.default_rng(0)
    dy, y = (aligned(rng.uniform(-0.9, 0.9, n), dtype) for _ in range(2))
    exact = expected(kind, dy.astype(np.float64), y.astype(np.float64))
    results = []
    for threads, first, in_place in ((1, 0, False), (2, 0, False), (3, 0, True), (2, 1, False)):
        room = aligned(np.full(n + 8, 7.0), dtype)
        dx = room[first : first + n]
        if in_place:
            dx[...] = dy
        data = [dx, dx if in_place else dy, y]
        kernel_program(
            "activation_backward", dtype, data, [n, KINDS[kind]], [SLOPE], threads=threads
        ).forward()
        assert (room[:first] == 7).all()
        assert (room[first + n :] == 7).all()
        results.append(dx.copy())
    np.testing.assert_allclose(results[0], exact, rtol=4 * np.finfo(dtype).eps, atol=1e-7)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
