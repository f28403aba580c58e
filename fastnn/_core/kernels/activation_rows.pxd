"""Activations over consecutive elements, one loop a kind: for the kernels that apply one."""

from fastnn._core.kernels.vector_math cimport (
    ELU,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    TANH,
    activate,
    activation_gradient,
)
from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_store, v_store_first


cdef inline void activate_kind(
    const int kind, real* y, const real* x, const Py_ssize_t n, const real slope,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        v_store(y + i, activate(kind, v_load(x + i), slope))
        i += LANES
    if i < n:
        v_store_first(y + i, activate(kind, v_load_first(x + i, n - i), slope), n - i)


cdef inline void activation_forward_row(
    const int kind, real* y, const real* x, const Py_ssize_t n, const real slope,
) noexcept nogil:
    """y (n,) = f(x (n,)); y may be x."""
    if kind == RELU:
        activate_kind(RELU, y, x, n, slope)
    elif kind == LEAKY_RELU:
        activate_kind(LEAKY_RELU, y, x, n, slope)
    elif kind == SIGMOID:
        activate_kind(SIGMOID, y, x, n, slope)
    elif kind == TANH:
        activate_kind(TANH, y, x, n, slope)
    elif kind == ELU:
        activate_kind(ELU, y, x, n, slope)


cdef inline void gradient_kind(
    const int kind, real* dx, const real* dy, const real* y, const Py_ssize_t n, const real slope,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        v_store(dx + i, activation_gradient(kind, v_load(y + i), v_load(dy + i), slope))
        i += LANES
    if i < n:
        v_store_first(dx + i, activation_gradient(
            kind, v_load_first(y + i, n - i), v_load_first(dy + i, n - i), slope), n - i)


cdef inline void activation_backward_row(
    const int kind, real* dx, const real* dy, const real* y, const Py_ssize_t n, const real slope,
) noexcept nogil:
    """dx (n,) = dy (n,) f'(x) by y (n,) = f(x); dx may be dy."""
    if kind == RELU:
        gradient_kind(RELU, dx, dy, y, n, slope)
    elif kind == LEAKY_RELU:
        gradient_kind(LEAKY_RELU, dx, dy, y, n, slope)
    elif kind == SIGMOID:
        gradient_kind(SIGMOID, dx, dy, y, n, slope)
    elif kind == TANH:
        gradient_kind(TANH, dx, dy, y, n, slope)
    elif kind == ELU:
        gradient_kind(ELU, dx, dy, y, n, slope)
