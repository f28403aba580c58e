"""Activations as steps of their own: where they could not be fused into the kernel before them."""

from cython.parallel cimport prange

from fastnn._core.kernels.activation_rows cimport (
    activation_backward_row,
    activation_backward_stream,
    activation_forward_row,
)
from fastnn._core.kernels.vector_math cimport ELU, IDENTITY, LEAKY_RELU, RELU, SIGMOID, TANH
from fastnn._core.simd cimport VECTOR_BYTES, real
from fastnn._core.step cimport Step, publish

cdef enum:
    # Elements of a piece of work: 16 KB of each operand in float, which stay in L1.
    CHUNK = 4096
    # From here on the operands push each other out of the last cache, and a gradient is written past
    # it: a store would read the line first.
    STREAM_BYTES = 8388608


cdef void activation_forward(
    real* y,            # (n,)
    const real* x,      # (n,)
    Py_ssize_t n, int kind, real slope, int threads,
) noexcept nogil:
    cdef Py_ssize_t chunk, first
    if threads == 1:
        activation_forward_row(kind, y, x, n, slope)
        return
    for chunk in prange((n + CHUNK - 1) // CHUNK, schedule="static", num_threads=threads):
        first = chunk * CHUNK
        activation_forward_row(kind, y + first, x + first, min(CHUNK, n - first), slope)


cdef inline void activation_backward_chunk(
    real* dx, const real* dy, const real* y, Py_ssize_t first, Py_ssize_t count, Py_ssize_t n,
    int kind, real slope,
) noexcept nogil:
    """`count` elements of n that begin at `first`, or what is left of them"""
    count = min(count, n - first)
    # In place, the line has been read for dy.
    if n * sizeof(real) >= STREAM_BYTES and dx != dy and <size_t>dx % VECTOR_BYTES == 0:
        activation_backward_stream(kind, dx + first, dy + first, y + first, count, slope)
    else:
        activation_backward_row(kind, dx + first, dy + first, y + first, count, slope)


cdef void activation_backward(
    real* dx,           # (n,)
    const real* dy,     # (n,)
    const real* y,      # (n,)
    Py_ssize_t n, int kind, real slope, int threads,
) noexcept nogil:
    cdef Py_ssize_t chunk
    if threads == 1:
        activation_backward_chunk(dx, dy, y, 0, n, n, kind, slope)
        return
    for chunk in prange((n + CHUNK - 1) // CHUNK, schedule="static", num_threads=threads):
        activation_backward_chunk(dx, dy, y, chunk * CHUNK, CHUNK, n, kind, slope)


cdef void run_activation_forward(const Step* s) noexcept nogil:
    activation_forward(<real*>s.data[0], <real*>s.data[1],
                       s.size[0], <int>s.size[1], <real>s.scalar[0], s.threads)


cdef void run_activation_backward(const Step* s) noexcept nogil:
    activation_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                        s.size[0], <int>s.size[1], <real>s.scalar[0], s.threads)


CONSTANTS = {
    "IDENTITY": IDENTITY,
    "RELU": RELU,
    "LEAKY_RELU": LEAKY_RELU,
    "SIGMOID": SIGMOID,
    "TANH": TANH,
    "ELU": ELU,
}
KERNELS = {
    "activation_forward": publish(run_activation_forward),
    "activation_backward": publish(run_activation_backward),
}
