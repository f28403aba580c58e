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
from fastnn._core.simd cimport (
    LANES,
    real,
    v_end_stream,
    v_load,
    v_load_first,
    v_store,
    v_store_first,
    v_stream,
    vreal,
)


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
    const int kind, const bint streams, real* dx, const real* dy, const real* y,
    const Py_ssize_t n, const real slope,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef vreal gradient
    while i + LANES <= n:
        gradient = activation_gradient(kind, v_load(y + i), v_load(dy + i), slope)
        if streams:
            v_stream(dx + i, gradient)
        else:
            v_store(dx + i, gradient)
        i += LANES
    if i < n:
        v_store_first(dx + i, activation_gradient(
            kind, v_load_first(y + i, n - i), v_load_first(dy + i, n - i), slope), n - i)


cdef inline void gradient_by_kind(
    const int kind, const bint streams, real* dx, const real* dy, const real* y,
    const Py_ssize_t n, const real slope,
) noexcept nogil:
    if kind == RELU:
        gradient_kind(RELU, streams, dx, dy, y, n, slope)
    elif kind == LEAKY_RELU:
        gradient_kind(LEAKY_RELU, streams, dx, dy, y, n, slope)
    elif kind == SIGMOID:
        gradient_kind(SIGMOID, streams, dx, dy, y, n, slope)
    elif kind == TANH:
        gradient_kind(TANH, streams, dx, dy, y, n, slope)
    elif kind == ELU:
        gradient_kind(ELU, streams, dx, dy, y, n, slope)


cdef inline void activation_backward_row(
    const int kind, real* dx, const real* dy, const real* y, const Py_ssize_t n, const real slope,
) noexcept nogil:
    """dx (n,) = dy (n,) f'(x) by y (n,) = f(x); dx may be dy."""
    gradient_by_kind(kind, False, dx, dy, y, n, slope)


cdef inline void activation_backward_stream(
    const int kind, real* dx, const real* dy, const real* y, const Py_ssize_t n, const real slope,
) noexcept nogil:
    """As activation_backward_row, with dx, at a multiple of VECTOR_BYTES, written past the caches."""
    gradient_by_kind(kind, True, dx, dy, y, n, slope)
    v_end_stream()
