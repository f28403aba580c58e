"""Activations as steps of their own: where they could not be fused into the kernel before them."""

from fastnn._core.kernels.activation_rows cimport (
    activation_backward_row,
    activation_backward_stream,
    activation_forward_row,
)
from fastnn._core.kernels.vector_math cimport ELU, IDENTITY, LEAKY_RELU, RELU, SIGMOID, TANH
from fastnn._core.simd cimport VECTOR_BYTES, real
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Elements of a piece of work: 16 KB of each operand in float, which stay in L1.
    CHUNK = 4096
    # From here on the operands push each other out of the last cache, and a gradient is written past
    # it: a store would read the line first.
    STREAM_BYTES = 8388608

cdef struct Job:
    int kind
    real slope
    real* out            # y, or backward dx
    const real* inputs   # x, or backward dy
    const real* output   # backward: y
    Py_ssize_t n


cdef void forward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * CHUNK
    activation_forward_row(job.kind, job.out + first, job.inputs + first, min(CHUNK, job.n - first),
                           job.slope)


cdef void activation_forward(
    real* y,            # (n,)
    const real* x,      # (n,)
    Py_ssize_t n, int kind, real slope, int threads,
) noexcept nogil:
    cdef Job job = Job(kind, slope, y, x, NULL, n)
    run_tasks(forward_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


cdef void backward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * CHUNK, count = min(CHUNK, job.n - first)
    cdef real* dx = job.out + first
    cdef const real* dy = job.inputs + first
    # In place, the line has been read for dy.
    if job.n * sizeof(real) >= STREAM_BYTES and dx != dy and <size_t>dx % VECTOR_BYTES == 0:
        activation_backward_stream(job.kind, dx, dy, job.output + first, count, job.slope)
    else:
        activation_backward_row(job.kind, dx, dy, job.output + first, count, job.slope)


cdef void activation_backward(
    real* dx,           # (n,)
    const real* dy,     # (n,)
    const real* y,      # (n,)
    Py_ssize_t n, int kind, real slope, int threads,
) noexcept nogil:
    cdef Job job = Job(kind, slope, dx, dy, y, n)
    run_tasks(backward_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


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
