"""Sums, products and copies: what residual connections and concatenations are made of.

A backward pass is made of the same kernels: of a sum a copy, of a product two products, of a
concatenation copies of columns.
"""

from cython.parallel cimport prange
from libc.string cimport memcpy

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_store, v_store_first, vreal
from fastnn._core.step cimport Step, publish

cdef enum:
    # Elements of a piece of work: 16 KB of each operand in float.
    CHUNK = 4096
    ADD = 0
    MULTIPLY = 1


cdef void copy(
    real* y,             # (n,)
    const real* x,       # (n,)
    Py_ssize_t n, int threads,
) noexcept nogil:
    """y = x"""
    cdef Py_ssize_t chunk, first
    if threads == 1:
        memcpy(y, x, n * sizeof(real))
        return
    for chunk in prange((n + CHUNK - 1) // CHUNK, schedule="static", num_threads=threads):
        first = chunk * CHUNK
        memcpy(y + first, x + first, min(CHUNK, n - first) * sizeof(real))


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


cdef void combine_chunk(
    int kind, real* y, const real* a, const real* b, Py_ssize_t n,
) noexcept nogil:
    if kind == ADD:
        combine_kind(ADD, y, a, b, n)
    else:
        combine_kind(MULTIPLY, y, a, b, n)


cdef void add_chunk(
    real* y, const real* a, const real* b, const real* output, Py_ssize_t n,
    int activation, real slope, Py_ssize_t chunk,
) noexcept nogil:
    """What comes behind a sum goes over a chunk while the first-level cache still has it."""
    cdef Py_ssize_t first = chunk * CHUNK, count = min(<Py_ssize_t>CHUNK, n - first)
    combine_chunk(ADD, y + first, a + first, b + first, count)
    if output != NULL:
        activation_backward_row(activation, y + first, y + first, output + first, count, slope)
    elif activation:
        activation_forward_row(activation, y + first, y + first, count, slope)


cdef void add(
    real* y,             # (n,)
    const real* a,       # (n,)
    const real* b,       # (n,)
    const real* output,  # (n,) or NULL: of the activation whose gradient this is
    Py_ssize_t n, int activation, real slope, int threads,
) noexcept nogil:
    """y = f(a + b), or (a + b) f' where there is an output; y may be a or b"""
    cdef Py_ssize_t chunk, chunks = (n + CHUNK - 1) // CHUNK
    if threads == 1:
        for chunk in range(chunks):
            add_chunk(y, a, b, output, n, activation, slope, chunk)
        return
    for chunk in prange(chunks, schedule="static", num_threads=threads):
        add_chunk(y, a, b, output, n, activation, slope, chunk)


cdef void multiply(
    real* y,             # (n,)
    const real* a,       # (n,)
    const real* b,       # (n,)
    Py_ssize_t n, int threads,
) noexcept nogil:
    """y = a b; y may be a or b"""
    cdef Py_ssize_t chunk, first
    if threads == 1:
        combine_chunk(MULTIPLY, y, a, b, n)
        return
    for chunk in prange((n + CHUNK - 1) // CHUNK, schedule="static", num_threads=threads):
        first = chunk * CHUNK
        combine_chunk(MULTIPLY, y + first, a + first, b + first, min(CHUNK, n - first))


cdef void affine_chunk(
    real* y, const real* x, Py_ssize_t n, real factor, real offset,
) noexcept nogil:
    cdef Py_ssize_t i = 0
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
    cdef Py_ssize_t chunk, first
    if threads == 1:
        affine_chunk(y, x, n, factor, offset)
        return
    for chunk in prange((n + CHUNK - 1) // CHUNK, schedule="static", num_threads=threads):
        first = chunk * CHUNK
        affine_chunk(y + first, x + first, min(CHUNK, n - first), factor, offset)


cdef void copy_rows(
    real* y, const real* x, Py_ssize_t rows, Py_ssize_t width,
    Py_ssize_t y_columns, Py_ssize_t x_columns,
) noexcept nogil:
    cdef Py_ssize_t row, column
    for row in range(rows):  # no-cython-lint
        if width >= LANES:
            column = 0
            while column + LANES <= width:
                v_store(y + column, v_load(x + column))
                column += LANES
            # The last vector overlaps the one before it, so that no lane is copied alone.
            v_store(y + width - LANES, v_load(x + width - LANES))
        else:
            v_store_first(y, v_load_first(x, width), width)
        y += y_columns
        x += x_columns


cdef void copy_columns(
    real* y,             # (rows, y_columns)
    const real* x,       # (rows, x_columns)
    Py_ssize_t rows, Py_ssize_t width,
    Py_ssize_t y_columns, Py_ssize_t y_offset, Py_ssize_t x_columns, Py_ssize_t x_offset,
    int threads,
) noexcept nogil:
    """y[:, y_offset:y_offset + width] = x[:, x_offset:x_offset + width]"""
    cdef Py_ssize_t chunk_rows = max(1, CHUNK // width)
    cdef Py_ssize_t chunk, row
    y += y_offset
    x += x_offset
    if threads == 1:
        copy_rows(y, x, rows, width, y_columns, x_columns)
        return
    for chunk in prange((rows + chunk_rows - 1) // chunk_rows, schedule="static",
                        num_threads=threads):
        row = chunk * chunk_rows
        copy_rows(y + row * y_columns, x + row * x_columns, min(chunk_rows, rows - row), width,
                  y_columns, x_columns)


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
