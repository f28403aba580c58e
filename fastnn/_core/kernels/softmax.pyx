"""Softmax and its logarithm over the columns of a matrix, and their gradients.

Pieces of work are whole rows, so that nothing depends on how many threads there are.
"""

from fastnn._core.kernels.softmax_rows cimport (
    FEW_COLUMNS,
    column_exponentials,
    load_columns,
    rescale_row,
    row_exponentials,
    row_maximum,
    rows_of_chunk,
    store_columns,
    subtract_maximum,
    v_log_of_total,
)
from fastnn._core.kernels.vector_math cimport v_exp
from fastnn._core.simd cimport (
    LANES,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    v_sum,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks
from libc.math cimport log


cdef inline void short_rows(
    const bint logarithm, real* y, const real* x, const Py_ssize_t rows, const Py_ssize_t columns,
) noexcept nogil:
    """The softmax of at most LANES rows of at most FEW_COLUMNS, or its logarithm."""
    cdef vreal column[FEW_COLUMNS]
    cdef vreal exponential[FEW_COLUMNS]
    cdef vreal total, scale
    cdef Py_ssize_t j
    load_columns(column, x, rows, columns)
    subtract_maximum(column, columns)
    total = column_exponentials(exponential, column, columns)
    if logarithm:
        total = v_log_of_total(total)
        for j in range(columns):
            column[j] -= total
    else:
        scale = 1 / total
        for j in range(columns):
            column[j] = exponential[j] * scale
    store_columns(y, column, rows, columns)


cdef inline void long_row(
    const bint logarithm, real* y, const real* x, const Py_ssize_t columns,
) noexcept nogil:
    """The softmax of a row, or its logarithm."""
    cdef real maximum = row_maximum(x, columns)
    cdef real total
    if logarithm:
        total = row_exponentials(NULL, x, columns, maximum)
        rescale_row(y, x, columns, maximum, 1, -<real>log(total))
    else:
        total = row_exponentials(y, x, columns, maximum)
        rescale_row(y, y, columns, 0, 1 / total, 0)


cdef inline void forward_rows(
    const bint logarithm, real* y, const real* x, const Py_ssize_t rows, const Py_ssize_t columns,
) noexcept nogil:
    cdef Py_ssize_t row = 0
    if columns <= FEW_COLUMNS:
        while row < rows:
            short_rows(logarithm, y + row * columns, x + row * columns,
                       min(<Py_ssize_t>LANES, rows - row), columns)
            row += LANES
        return
    for row in range(rows):
        long_row(logarithm, y + row * columns, x + row * columns, columns)


cdef inline vreal gradient(
    const bint logarithm, vreal dy, vreal y, const real total,
) noexcept nogil:
    """dx, by the sum over the row of what `term_of_sum` gives"""
    if logarithm:
        return dy - v_exp(y) * total
    return y * (dy - total)


cdef inline vreal term_of_sum(const bint logarithm, vreal dy, vreal y) noexcept nogil:
    return dy if logarithm else dy * y


cdef inline void backward_rows(
    const bint logarithm, real* dx, const real* dy, const real* y,
    const Py_ssize_t rows, const Py_ssize_t columns,
) noexcept nogil:
    cdef vreal sums
    cdef real total
    cdef Py_ssize_t row, i
    for row in range(rows):  # no-cython-lint
        sums = v_set(0)
        i = 0
        while i + LANES <= columns:
            sums += term_of_sum(logarithm, v_load(dy + i), v_load(y + i))
            i += LANES
        if i < columns:
            sums += term_of_sum(logarithm, v_load_first(dy + i, columns - i),
                                v_load_first(y + i, columns - i))
        total = v_sum(sums)
        i = 0
        while i + LANES <= columns:
            v_store(dx + i, gradient(logarithm, v_load(dy + i), v_load(y + i), total))
            i += LANES
        if i < columns:
            v_store_first(dx + i, gradient(logarithm, v_load_first(dy + i, columns - i),
                                           v_load_first(y + i, columns - i), total), columns - i)
        dx += columns
        dy += columns
        y += columns


cdef struct Job:
    bint logarithm
    real* out            # y, or dx
    const real* dy       # backward
    const real* inputs   # x, or backward y
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t height    # of a chunk, in rows


# Plain functions: the one place each where the loops are expanded.

cdef void forward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t at = chunk * job.height * job.columns
    cdef Py_ssize_t rows = min(job.height, job.rows - chunk * job.height)
    if job.logarithm:
        forward_rows(True, job.out + at, job.inputs + at, rows, job.columns)
    else:
        forward_rows(False, job.out + at, job.inputs + at, rows, job.columns)


cdef void backward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t at = chunk * job.height * job.columns
    cdef Py_ssize_t rows = min(job.height, job.rows - chunk * job.height)
    if job.logarithm:
        backward_rows(True, job.out + at, job.dy + at, job.inputs + at, rows, job.columns)
    else:
        backward_rows(False, job.out + at, job.dy + at, job.inputs + at, rows, job.columns)


cdef void softmax_forward(
    bint logarithm,
    real* y,            # (rows, columns); may be x
    const real* x,      # (rows, columns)
    Py_ssize_t rows, Py_ssize_t columns, int threads,
) noexcept nogil:
    """y = exp(x - m) / sum(exp(x - m)) by rows, m the row's maximum; or the logarithm of it"""
    cdef Job job = Job(logarithm, y, NULL, x, rows, columns, rows_of_chunk(columns))
    run_tasks(forward_chunk, &job, (rows + job.height - 1) // job.height, NULL, 0, threads)


cdef void softmax_backward(
    bint logarithm,
    real* dx,           # (rows, columns); may be dy
    const real* dy,     # (rows, columns)
    const real* y,      # (rows, columns)
    Py_ssize_t rows, Py_ssize_t columns, int threads,
) noexcept nogil:
    """dx = y (dy - sum(dy y)) by rows, or dy - exp(y) sum(dy) where y is the logarithm"""
    cdef Job job = Job(logarithm, dx, dy, y, rows, columns, rows_of_chunk(columns))
    run_tasks(backward_chunk, &job, (rows + job.height - 1) // job.height, NULL, 0, threads)


cdef void run_softmax_forward(const Step* s) noexcept nogil:
    softmax_forward(False, <real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1], s.threads)


cdef void run_softmax_backward(const Step* s) noexcept nogil:
    softmax_backward(False, <real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                     s.size[0], s.size[1], s.threads)


cdef void run_log_softmax_forward(const Step* s) noexcept nogil:
    softmax_forward(True, <real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1], s.threads)


cdef void run_log_softmax_backward(const Step* s) noexcept nogil:
    softmax_backward(True, <real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                     s.size[0], s.size[1], s.threads)


KERNELS = {
    "softmax_forward": publish(run_softmax_forward),
    "softmax_backward": publish(run_softmax_backward),
    "log_softmax_forward": publish(run_log_softmax_forward),
    "log_softmax_backward": publish(run_log_softmax_backward),
}
