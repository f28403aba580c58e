"""Average pooling of channels-last images, and what is the same computation: nearest upsampling.

An average over a window is summed row by row, then over the rows: the roundoff of the average of a
whole image grows with its height and width, not with the number of its pixels. Backward gathers
from the outputs whose windows cover a pixel (pooling.pxd).

Upsampling gives every pixel of its output the one pixel that covers it: it is the backward pass of
a pooling that sums, and its own backward pass is that pooling.
"""

from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.kernels.pooling cimport (
    BLOCK_VECTORS,
    Cover,
    Pool,
    Window,
    pool_of,
)
from fastnn._core.simd cimport LANES, real, v_set, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef struct Job:
    const Pool* p
    real* out                # y, or dx
    const real* inputs       # x, or dy
    real divisor


cdef inline real share_of(const Window* rows, const Window* columns, const real divisor) noexcept nogil:
    """What one pixel counts in an average."""
    return 1 / (divisor if divisor != 0 else <real>(rows.divisor * columns.divisor))


cdef inline void average_of_window(
    const int vectors, real* y, const real* x, const Pool* p, const Window* rows, const Window* columns,
    const real share, const Py_ssize_t count,
) noexcept nogil:
    """Some channels of an output pixel: `vectors` (a literal) of `count` lanes each."""
    cdef vreal total[4]
    cdef vreal row_total[4]
    cdef Py_ssize_t r, s, channels = p.channels, row_step = p.columns.length * p.channels
    cdef const real* from_row = x + (rows.first * p.columns.length + columns.first) * channels
    cdef const real* from_tap
    cdef int j
    for j in range(vectors):
        total[j] = v_set(0)
    for r in range(rows.count):  # no-cython-lint
        from_tap = from_row
        for j in range(vectors):
            row_total[j] = v_set(0)
        for s in range(columns.count):  # no-cython-lint
            for j in range(vectors):
                row_total[j] += load_lanes(from_tap + j * LANES, count)
            from_tap = from_tap + channels
        for j in range(vectors):
            total[j] += row_total[j]
        from_row = from_row + row_step
    for j in range(vectors):
        store_lanes(y + j * LANES, total[j] * share, count)


cdef void forward_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all output rows of all images"""
    cdef const Job* job = <const Job*>context
    cdef const Pool* p = job.p
    cdef Py_ssize_t image = row // p.rows.out_length, channels = p.channels
    cdef const Window* rows = p.rows.windows + (row - image * p.rows.out_length)
    cdef const Window* columns
    cdef const real* x = job.inputs + image * p.rows.length * p.columns.length * channels
    cdef real* y = job.out + row * p.columns.out_length * channels
    cdef Py_ssize_t column, channel
    cdef real share
    for column in range(p.columns.out_length):
        columns = p.columns.windows + column
        share = share_of(rows, columns, job.divisor)
        channel = 0
        while channel + BLOCK_VECTORS * LANES <= channels:
            average_of_window(BLOCK_VECTORS, y + channel, x + channel, p, rows, columns, share, LANES)
            channel += BLOCK_VECTORS * LANES
        while channel + LANES <= channels:
            average_of_window(1, y + channel, x + channel, p, rows, columns, share, LANES)
            channel += LANES
        if channels < LANES:
            average_of_window(1, y, x, p, rows, columns, share, channels)
        elif channel < channels:
            channel = channels - LANES
            average_of_window(1, y + channel, x + channel, p, rows, columns, share, LANES)
        y += channels


cdef inline void gradient_of_pixel(
    const int vectors, real* dx, const real* dy, const Pool* p, const real divisor,
    const Cover* rows, const Cover* columns, const Py_ssize_t count,
) noexcept nogil:
    """Some channels of an input pixel: its share of the windows that it is in."""
    cdef vreal total[4]
    cdef real share
    cdef const Window* window_rows
    cdef const Window* window_columns
    cdef Py_ssize_t a, b, offset
    cdef int j
    for j in range(vectors):
        total[j] = v_set(0)
    for a in range(rows.count):
        window_rows = p.rows.windows + rows.output + a
        for b in range(columns.count):
            window_columns = p.columns.windows + columns.output + b
            offset = ((rows.output + a) * p.columns.out_length + columns.output + b) * p.channels
            share = share_of(window_rows, window_columns, divisor)
            for j in range(vectors):
                total[j] += load_lanes(dy + offset + j * LANES, count) * share
    for j in range(vectors):
        store_lanes(dx + j * LANES, total[j], count)


cdef void backward_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all input rows of all images"""
    cdef const Job* job = <const Job*>context
    cdef const Pool* p = job.p
    cdef Py_ssize_t image = row // p.rows.length, channels = p.channels
    cdef const Cover* rows = p.rows.covers + (row - image * p.rows.length)
    cdef const Cover* columns
    cdef real* dx = job.out + row * p.columns.length * channels
    cdef const real* dy = job.inputs + image * p.rows.out_length * p.columns.out_length * channels
    cdef real divisor = job.divisor
    cdef Py_ssize_t column, channel
    for column in range(p.columns.length):
        columns = p.columns.covers + column
        channel = 0
        while channel + BLOCK_VECTORS * LANES <= channels:
            gradient_of_pixel(BLOCK_VECTORS, dx + channel, dy + channel, p, divisor,
                              rows, columns, LANES)
            channel += BLOCK_VECTORS * LANES
        while channel + LANES <= channels:
            gradient_of_pixel(1, dx + channel, dy + channel, p, divisor, rows, columns, LANES)
            channel += LANES
        if channels < LANES:
            gradient_of_pixel(1, dx, dy, p, divisor, rows, columns, channels)
        elif channel < channels:
            channel = channels - LANES
            gradient_of_pixel(1, dx + channel, dy + channel, p, divisor, rows, columns, LANES)
        dx += channels


cdef void average_pool_forward(
    real* y,                 # (images, out_height, out_width, channels)
    const real* x,           # (images, height, width, channels)
    const Pool* p, real divisor, int threads,
) noexcept nogil:
    """y = the sum over each window / `divisor`, or that of the window where it is zero"""
    cdef Job job = Job(p, y, x, divisor)
    run_tasks(forward_row, &job, p.images * p.rows.out_length, NULL, 0, threads)


cdef void average_pool_backward(
    real* dx,                # (images, height, width, channels)
    const real* dy,          # (images, out_height, out_width, channels)
    const Pool* p, real divisor, int threads,
) noexcept nogil:
    """dx = the sum of dy / divisor over the windows that a pixel is in"""
    cdef Job job = Job(p, dx, dy, divisor)
    run_tasks(backward_row, &job, p.images * p.rows.length, NULL, 0, threads)


cdef void run_average_pool_forward(const Step* s) noexcept nogil:
    cdef Pool p = pool_of(s, s.data[2], s.data[3])
    average_pool_forward(<real*>s.data[0], <real*>s.data[1], &p, <real>s.scalar[0], s.threads)


cdef void run_average_pool_backward(const Step* s) noexcept nogil:
    cdef Pool p = pool_of(s, s.data[2], s.data[3])
    average_pool_backward(<real*>s.data[0], <real*>s.data[1], &p, <real>s.scalar[0], s.threads)


KERNELS = {
    "average_pool_forward": publish(run_average_pool_forward),
    "average_pool_backward": publish(run_average_pool_backward),
}
