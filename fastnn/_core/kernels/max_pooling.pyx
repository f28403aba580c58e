"""Max-pooling of channels-last images.

Forward keeps for each output the number of the tap that won, in 16 bits. Backward never scatters:
where windows overlap it goes over the pixels of the input and gathers from the outputs whose
windows cover them (pooling.pxd); where they don't, each window writes all its taps, the gradient to
one and zero to the others. So both passes read and write whole vectors of channels, and each output
is written by one thread.

The channels of a pixel end in a vector that overlaps the one before it: what both hold is computed
twice, to the same value.

The usual windows, 2 x 2 pixels side by side, have loops of their own (max_pooling_pairs.pxd).
"""

from libc.math cimport INFINITY
from libc.stdint cimport uint16_t
from libc.string cimport memset

from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.kernels.max_pooling_pairs cimport (
    Pairs,
    backward_pairs,
    beats,
    forward_pairs,
    load_winner,
    pairs_of,
    store_winner,
)
from fastnn._core.kernels.pooling cimport (
    BLOCK_VECTORS,
    Cover,
    Pool,
    Window,
    pool_of,
)
from fastnn._core.simd cimport (
    LANES,
    real,
    v_same,
    v_select,
    v_select_whole,
    v_set,
    v_set_whole,
    vmask,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef struct Forward:
    const Pool* p
    const Pairs* pairs       # or NULL
    real* y
    uint16_t* winner         # or NULL
    const real* x

cdef struct Backward:
    const Pool* p
    const Pairs* pairs       # or NULL
    real* dx
    const real* dy
    const uint16_t* winner


cdef inline void largest_of_window(
    const int vectors, real* y, uint16_t* winner, const real* x, const Pool* p,
    const Window* rows, const Window* columns, const Py_ssize_t count,
) noexcept nogil:
    """Some channels of an output pixel: `vectors` (a literal) of `count` lanes each."""
    cdef vreal best[4]
    cdef vmask best_tap[4]
    cdef vreal value
    cdef vmask better, tap
    cdef Py_ssize_t r, s, channels = p.channels
    cdef Py_ssize_t step = p.columns.tap_distance * channels
    cdef Py_ssize_t row_step = p.rows.tap_distance * p.columns.length * channels
    cdef Py_ssize_t number, first_number = rows.tap * p.taps_of_row + columns.tap
    cdef const real* from_row = x + (rows.first * p.columns.length + columns.first) * channels
    cdef const real* from_tap
    cdef int j
    for j in range(vectors):
        # The first tap wins over nothing, even with -inf. A window may have no tap on the image.
        best[j] = v_set(-INFINITY)
        if rows.count * columns.count > 0:
            best[j] = load_lanes(from_row + j * LANES, count)
        best_tap[j] = v_set_whole(first_number)
    for r in range(rows.count):  # no-cython-lint
        from_tap = from_row
        number = first_number + r * p.taps_of_row
        for s in range(columns.count):  # no-cython-lint
            tap = v_set_whole(number)
            for j in range(vectors):
                value = load_lanes(from_tap + j * LANES, count)
                better = beats(value, best[j])
                best[j] = v_select(better, value, best[j])
                if winner != NULL:
                    best_tap[j] = v_select_whole(better, tap, best_tap[j])
            number = number + 1
            from_tap = from_tap + step
        from_row = from_row + row_step
    for j in range(vectors):
        store_lanes(y + j * LANES, best[j], count)
        if winner != NULL:
            store_winner(winner + j * LANES, best_tap[j], count)


cdef inline void forward_pixel(
    real* y, uint16_t* winner, const real* x, const Pool* p,
    const Window* rows, const Window* columns,
) noexcept nogil:
    cdef Py_ssize_t channel = 0, channels = p.channels
    cdef bint keeps = winner != NULL
    while channel + BLOCK_VECTORS * LANES <= channels:
        largest_of_window(BLOCK_VECTORS, y + channel, winner + channel if keeps else NULL,
                          x + channel, p, rows, columns, LANES)
        channel += BLOCK_VECTORS * LANES
    while channel + LANES <= channels:
        largest_of_window(1, y + channel, winner + channel if keeps else NULL,
                          x + channel, p, rows, columns, LANES)
        channel += LANES
    if channels < LANES:
        largest_of_window(1, y, winner, x, p, rows, columns, channels)
    elif channel < channels:
        channel = channels - LANES
        largest_of_window(1, y + channel, winner + channel if keeps else NULL,
                          x + channel, p, rows, columns, LANES)


cdef void forward_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all output rows of all images"""
    cdef const Forward* job = <const Forward*>context
    cdef const Pool* p = job.p
    cdef Py_ssize_t image = row // p.rows.out_length
    cdef const Window* rows = p.rows.windows + (row - image * p.rows.out_length)
    cdef Py_ssize_t column, output = row * p.columns.out_length * p.channels
    cdef const real* x = job.x + image * p.rows.length * p.columns.length * p.channels
    if job.pairs != NULL:
        x += rows.first * p.columns.length * p.channels
        if job.winner != NULL:
            forward_pairs(True, job.y + output, job.winner + output, x, p, job.pairs)
        else:
            forward_pairs(False, job.y + output, NULL, x, p, job.pairs)
        return
    for column in range(p.columns.out_length):
        forward_pixel(job.y + output, job.winner + output if job.winner != NULL else NULL, x, p,
                      rows, p.columns.windows + column)
        output += p.channels


cdef inline void gradient_of_pixel(
    const int vectors, real* dx, const real* dy, const uint16_t* winner, const Pool* p,
    const Cover* rows, const Cover* columns, const Py_ssize_t count,
) noexcept nogil:
    """Some channels of an input pixel: the gradients of the windows that it won."""
    cdef vreal total[4]
    cdef vmask tap
    cdef Py_ssize_t a, b, offset, number
    cdef int j
    for j in range(vectors):
        total[j] = v_set(0)
    for a in range(rows.count):
        for b in range(columns.count):
            offset = ((rows.output + a * p.rows.cover_step) * p.columns.out_length
                      + columns.output + b * p.columns.cover_step) * p.channels
            number = ((rows.tap - a * p.rows.tap_step) * p.taps_of_row
                      + columns.tap - b * p.columns.tap_step)
            tap = v_set_whole(number)
            for j in range(vectors):
                total[j] += v_select(
                    v_same(load_winner(winner + offset + j * LANES, count), tap),
                    load_lanes(dy + offset + j * LANES, count), v_set(0))
    for j in range(vectors):
        store_lanes(dx + j * LANES, total[j], count)


cdef inline void gradients_of_window(
    const int vectors, real* dx, const real* dy, const uint16_t* winner, const Pool* p,
    const Window* rows, const Window* columns, const Py_ssize_t count,
) noexcept nogil:
    """Some channels of the pixels of a window that shares none: dy where it won, else zero."""
    cdef vreal gradient[4]
    cdef vmask best_tap[4]
    cdef vmask tap
    cdef Py_ssize_t r, s, number
    cdef Py_ssize_t step = p.columns.tap_distance * p.channels
    cdef Py_ssize_t row_step = p.rows.tap_distance * p.columns.length * p.channels
    cdef real* to_row = dx + (rows.first * p.columns.length + columns.first) * p.channels
    cdef real* to_tap
    cdef int j
    for j in range(vectors):
        gradient[j] = load_lanes(dy + j * LANES, count)
        best_tap[j] = load_winner(winner + j * LANES, count)
    for r in range(rows.count):  # no-cython-lint
        to_tap = to_row
        number = (rows.tap + r) * p.taps_of_row + columns.tap
        for s in range(columns.count):  # no-cython-lint
            tap = v_set_whole(number)
            for j in range(vectors):
                store_lanes(to_tap + j * LANES,
                            v_select(v_same(best_tap[j], tap), gradient[j], v_set(0)), count)
            number = number + 1
            to_tap = to_tap + step
        to_row = to_row + row_step


cdef void backward_windows_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all output rows of all images, whose windows share no pixels"""
    cdef const Backward* job = <const Backward*>context
    cdef const Pool* p = job.p
    cdef Py_ssize_t image = row // p.rows.out_length, channels = p.channels
    cdef Py_ssize_t in_row = p.columns.length * channels
    cdef Py_ssize_t out_row = row - image * p.rows.out_length
    cdef const Window* rows = p.rows.windows + out_row
    cdef const Window* columns
    cdef real* dx = job.dx + image * p.rows.length * in_row
    cdef const real* dy = job.dy + row * p.columns.out_length * channels
    cdef const uint16_t* winner = job.winner + row * p.columns.out_length * channels
    cdef Py_ssize_t column, channel, first, last
    if p.has_gaps:
        # Rows in no window belong to the window above them.
        first = rows.first if out_row > 0 else 0
        last = rows[1].first if out_row + 1 < p.rows.out_length else p.rows.length
        memset(dx + first * in_row, 0, (last - first) * in_row * sizeof(real))
    if job.pairs != NULL:
        backward_pairs(dx + rows.first * in_row, dy, winner, p, job.pairs)
        return
    for column in range(p.columns.out_length):
        columns = p.columns.windows + column
        channel = 0
        while channel + BLOCK_VECTORS * LANES <= channels:
            gradients_of_window(BLOCK_VECTORS, dx + channel, dy + channel, winner + channel, p,
                                rows, columns, LANES)
            channel += BLOCK_VECTORS * LANES
        while channel + LANES <= channels:
            gradients_of_window(1, dx + channel, dy + channel, winner + channel, p,
                                rows, columns, LANES)
            channel += LANES
        if channels < LANES:
            gradients_of_window(1, dx, dy, winner, p, rows, columns, channels)
        elif channel < channels:
            channel = channels - LANES
            gradients_of_window(1, dx + channel, dy + channel, winner + channel, p,
                                rows, columns, LANES)
        dy += channels
        winner += channels


cdef void backward_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all input rows of all images, whose windows overlap"""
    cdef const Backward* job = <const Backward*>context
    cdef const Pool* p = job.p
    cdef Py_ssize_t image = row // p.rows.length, channels = p.channels
    cdef const Cover* rows = p.rows.covers + (row - image * p.rows.length)
    cdef const Cover* columns
    cdef Py_ssize_t column, channel
    cdef Py_ssize_t outputs = image * p.rows.out_length * p.columns.out_length * channels
    cdef real* dx = job.dx + row * p.columns.length * channels
    cdef const real* dy = job.dy + outputs
    cdef const uint16_t* winner = job.winner + outputs
    for column in range(p.columns.length):
        columns = p.columns.covers + column
        channel = 0
        while channel + BLOCK_VECTORS * LANES <= channels:
            gradient_of_pixel(BLOCK_VECTORS, dx + channel, dy + channel, winner + channel, p,
                              rows, columns, LANES)
            channel += BLOCK_VECTORS * LANES
        while channel + LANES <= channels:
            gradient_of_pixel(1, dx + channel, dy + channel, winner + channel, p,
                              rows, columns, LANES)
            channel += LANES
        if channels < LANES:
            gradient_of_pixel(1, dx, dy, winner, p, rows, columns, channels)
        elif channel < channels:
            channel = channels - LANES
            gradient_of_pixel(1, dx + channel, dy + channel, winner + channel, p,
                              rows, columns, LANES)
        dx += channels


cdef void max_pool_forward(
    real* y,                 # (images, out_height, out_width, channels)
    uint16_t* winner,        # the same, or NULL: the number of the tap that y is
    const real* x,           # (images, height, width, channels)
    const Pool* p, int threads,
) noexcept nogil:
    """y = the maximum over each window, NaN if one is there"""
    cdef Pairs lanes = pairs_of(p)
    cdef const Pairs* pairs = &lanes if lanes.are_all else NULL
    cdef Forward job = Forward(p, pairs, y, winner, x)
    run_tasks(forward_row, &job, p.images * p.rows.out_length, NULL, 0, threads)


cdef void max_pool_backward(
    real* dx,                # (images, height, width, channels)
    const real* dy,          # (images, out_height, out_width, channels)
    const uint16_t* winner,  # the same
    const Pool* p, int threads,
) noexcept nogil:
    """dx = the sum of dy over the windows in which a pixel won"""
    cdef Pairs lanes = pairs_of(p)
    cdef const Pairs* pairs = &lanes if lanes.are_all else NULL
    cdef Backward job = Backward(p, pairs, dx, dy, winner)
    if p.overlaps:
        run_tasks(backward_row, &job, p.images * p.rows.length, NULL, 0, threads)
    else:
        run_tasks(backward_windows_row, &job, p.images * p.rows.out_length, NULL, 0, threads)


cdef void run_max_pool_forward(const Step* s) noexcept nogil:
    cdef Pool p = pool_of(s, s.data[3], s.data[4])
    max_pool_forward(<real*>s.data[0], <uint16_t*>s.data[1], <real*>s.data[2], &p, s.threads)


cdef void run_max_pool_backward(const Step* s) noexcept nogil:
    cdef Pool p = pool_of(s, s.data[3], s.data[4])
    max_pool_backward(<real*>s.data[0], <real*>s.data[1], <uint16_t*>s.data[2], &p, s.threads)


KERNELS = {
    "max_pool_forward": publish(run_max_pool_forward),
    "max_pool_backward": publish(run_max_pool_backward),
}
