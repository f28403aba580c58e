"""Sums, products and copies: what residual connections and concatenations are made of.

A backward pass is made of the same kernels: of a sum a copy, of a product two products, of a
concatenation copies of columns.
"""

from libc.string cimport memcpy

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_store, v_store_first, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Elements of a piece of work: 16 KB of each operand in float.
    CHUNK = 4096
    ADD = 0
    MULTIPLY = 1

cdef struct Job:
    # What a kernel has no use for is not set.
    real* y
    const real* a        # or x
    const real* b
    const real* output   # or NULL
    Py_ssize_t n
    int activation
    real slope
    real factor
    real offset

cdef struct Columns:
    real* y              # at the first of the columns
    const real* x
    Py_ssize_t rows
    Py_ssize_t width
    Py_ssize_t y_columns
    Py_ssize_t x_columns
    Py_ssize_t height    # of a chunk, in rows


cdef void copy_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * CHUNK
    memcpy(job.y + first, job.a + first, min(CHUNK, job.n - first) * sizeof(real))


cdef void copy(
    real* y,             # (n,)
    const real* x,       # (n,)
    Py_ssize_t n, int threads,
) noexcept nogil:
    """y = x"""
    cdef Job job
    job.y, job.a, job.n = y, x, n
    run_tasks(copy_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


cdef inline vreal combine(const int kind, vreal a, vreal b) noexcept nogil:
    return a + b if kind == ADD else a * b


cdef inline void combine_kind(
    const int kind, real* y, const real* a, const real* b, const Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        v_store(y + i, combine(kind, v_load(a + i), v_load(b + i)))
        i += LANES
    if i < n:
        v_store_first(y + i, combine(kind, v_load_first(a + i, n - i), v_load_first(b + i, n - i)),
                      n - i)


cdef void add_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    """What comes behind a sum goes over a chunk while the first-level cache still has it."""
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * CHUNK, count = min(CHUNK, job.n - first)
    cdef real* y = job.y + first
    combine_kind(ADD, y, job.a + first, job.b + first, count)
    if job.output != NULL:
        activation_backward_row(job.activation, y, y, job.output + first, count, job.slope)
    elif job.activation:
        activation_forward_row(job.activation, y, y, count, job.slope)


cdef void add(
    real* y,             # (n,)
    const real* a,       # (n,)
    const real* b,       # (n,)
    const real* output,  # (n,) or NULL: of the activation whose gradient this is
    Py_ssize_t n, int activation, real slope, int threads,
) noexcept nogil:
    """y = f(a + b), or (a + b) f' where there is an output; y may be a or b"""
    cdef Job job
    job.y, job.a, job.b, job.output, job.n = y, a, b, output, n
    job.activation, job.slope = activation, slope
    run_tasks(add_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


cdef void multiply_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * CHUNK
    combine_kind(MULTIPLY, job.y + first, job.a + first, job.b + first, min(CHUNK, job.n - first))


cdef void multiply(
    real* y,             # (n,)
    const real* a,       # (n,)
    const real* b,       # (n,)
    Py_ssize_t n, int threads,
) noexcept nogil:
    """y = a b; y may be a or b"""
    cdef Job job
    job.y, job.a, job.b, job.n = y, a, b, n
    run_tasks(multiply_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


cdef void affine_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * CHUNK, n = min(CHUNK, job.n - first), i = 0
    cdef real* y = job.y + first
    cdef const real* x = job.a + first
    cdef real factor = job.factor, offset = job.offset
    while i + LANES <= n:
        v_store(y + i, factor * v_load(x + i) + offset)
        i += LANES
    if i < n:
        v_store_first(y + i, factor * v_load_first(x + i, n - i) + offset, n - i)


cdef void affine(
    real* y,             # (n,)
    const real* x,       # (n,)
    Py_ssize_t n, real factor, real offset, int threads,
) noexcept nogil:
    """y = factor x + offset; y may be x"""
    cdef Job job
    job.y, job.a, job.n, job.factor, job.offset = y, x, n, factor, offset
    run_tasks(affine_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


cdef void copy_rows(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Columns* c = <const Columns*>context
    cdef Py_ssize_t first = chunk * c.height, width = c.width, row, column
    cdef real* y = c.y + first * c.y_columns
    cdef const real* x = c.x + first * c.x_columns
    for row in range(min(c.height, c.rows - first)):  # no-cython-lint
        if width >= LANES:
            column = 0
            while column + LANES <= width:
                v_store(y + column, v_load(x + column))
                column += LANES
            # The last vector overlaps the one before it, so that no lane is copied alone.
            v_store(y + width - LANES, v_load(x + width - LANES))
        else:
            v_store_first(y, v_load_first(x, width), width)
        y += c.y_columns
        x += c.x_columns


cdef void copy_columns(
    real* y,             # (rows, y_columns)
    const real* x,       # (rows, x_columns)
    Py_ssize_t rows, Py_ssize_t width,
    Py_ssize_t y_columns, Py_ssize_t y_offset, Py_ssize_t x_columns, Py_ssize_t x_offset,
    int threads,
) noexcept nogil:
    """y[:, y_offset:y_offset + width] = x[:, x_offset:x_offset + width]"""
    cdef Columns c = Columns(y + y_offset, x + x_offset, rows, width, y_columns, x_columns,
                             max(1, CHUNK // width))
    run_tasks(copy_rows, &c, (rows + c.height - 1) // c.height, NULL, 0, threads)


cdef void fill(
    real* y,             # (n,)
    Py_ssize_t n, real value,
) noexcept nogil:
    """y = value"""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = value


cdef void run_fill(const Step* s) noexcept nogil:
    fill(<real*>s.data[0], s.size[0], <real>s.scalar[0])


cdef void run_copy(const Step* s) noexcept nogil:
    copy(<real*>s.data[0], <real*>s.data[1], s.size[0], s.threads)


cdef void run_add(const Step* s) noexcept nogil:
    add(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], s.size[0],
        <int>s.size[1], <real>s.scalar[0], s.threads)


cdef void run_multiply(const Step* s) noexcept nogil:
    multiply(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], s.size[0], s.threads)


cdef void run_affine(const Step* s) noexcept nogil:
    affine(<real*>s.data[0], <real*>s.data[1], s.size[0], <real>s.scalar[0], <real>s.scalar[1],
           s.threads)


cdef void run_copy_columns(const Step* s) noexcept nogil:
    copy_columns(<real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1],
                 s.size[2], s.size[3], s.size[4], s.size[5], s.threads)


KERNELS = {
    "fill": publish(run_fill),
    "copy": publish(run_copy),
    "add": publish(run_add),
    "multiply": publish(run_multiply),
    "affine": publish(run_affine),
    "copy_columns": publish(run_copy_columns),
}
