"""The gradients of the parameters of a depthwise convolution.

    dweight[tap, :] = the sum over pixels of x * dy, dbias = that of dy      vectors are channels

Rows of outputs are lines (depthwise_lines.pxd), whose outputs are read here: they are dy. Rows are
split into CHUNKS parts, whatever the number of threads, and the parts' sums are added in their
order. The usual kernels without a stride multiply tiles of dy with each input that passes by
(depthwise_window.pxd); others go over strips of columns, by groups of taps.
"""

from libc.string cimport memset

from fastnn._core.kernels.convolution cimport Convolution, convolution_of
from fastnn._core.kernels.depthwise_lines cimport (
    Line,
    Tap,
    interior_of,
    lies_inside,
    look_ahead,
    taps_of_row,
    window_of,
)
from fastnn._core.kernels.depthwise_window cimport WINDOW_TILE, at_edge_of, window_products
from fastnn._core.kernels.lanes cimport load_lanes
from fastnn._core.simd cimport LANES, real, v_load, v_store, v_store_first, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Parts of the rows, with sums of their own: enough for the cores there are, few enough to add up
    # at once.
    CHUNKS = 32
    # Columns over which the sums of the weights' gradient stay in registers.
    STRIP = 16


cdef inline Py_ssize_t padded_channels(const Convolution* c) noexcept nogil:
    """Channels in whole vectors, as the sums of a chunk lie."""
    return (c.channels + LANES - 1) // LANES * LANES


cdef inline void add_products(
    const int taps, real* sums, const Py_ssize_t sums_step, const Line* line, const Tap* tap,
    Py_ssize_t first, Py_ssize_t last, Py_ssize_t channel, const Py_ssize_t count,
) noexcept nogil:
    """sums (taps,) += x * dy over the columns from `first` to `last`; `taps` is a literal."""
    cdef vreal total[9]
    cdef const real* values[9]
    cdef const real* dy = line.out + first * line.out_step + channel
    cdef vreal gradient
    cdef Py_ssize_t column
    cdef int k
    for k in range(taps):
        total[k] = v_load(sums + k * sums_step)
        values[k] = line.inputs + tap[k].offset + first * line.input_step + channel
    for column in range(last - first):
        gradient = load_lanes(dy + column * line.out_step, count)
        for k in range(taps):
            total[k] += gradient * load_lanes(values[k] + column * line.input_step, count)
    for k in range(taps):
        v_store(sums + k * sums_step, total[k])


cdef inline void add_columns(
    real* sums, const Py_ssize_t sums_step, const Line* line, Py_ssize_t first, Py_ssize_t last,
    Py_ssize_t channel, const Py_ssize_t count,
) noexcept nogil:
    """Columns whose taps all lie inside: taps by groups that share a load of dy"""
    cdef Py_ssize_t k = 0, base
    while k < line.tap_count:
        base = line.taps[k].weight // line.channels * sums_step + channel
        if k + 9 <= line.tap_count:
            add_products(9, sums + base, sums_step, line, line.taps + k, first, last, channel, count)
            k += 9
        elif k + 5 <= line.tap_count:
            add_products(5, sums + base, sums_step, line, line.taps + k, first, last, channel, count)
            k += 5
        elif k + 3 <= line.tap_count:
            add_products(3, sums + base, sums_step, line, line.taps + k, first, last, channel, count)
            k += 3
        else:
            add_products(1, sums + base, sums_step, line, line.taps + k, first, last, channel, count)
            k += 1


cdef inline void add_edge(
    real* sums, const Py_ssize_t sums_step, const Line* line, Py_ssize_t column,
    Py_ssize_t channel, const Py_ssize_t count,
) noexcept nogil:
    """A column some of whose taps lie outside"""
    cdef Py_ssize_t k
    for k in range(line.tap_count):
        if lies_inside(line, column, line.taps + k):
            add_products(1, sums + line.taps[k].weight // line.channels * sums_step + channel,
                         sums_step, line, line.taps + k, column, column + 1, channel, count)


cdef inline void add_strip(
    real* sums, real* bias_sums, const Py_ssize_t sums_step, const Line* line, Py_ssize_t first,
    Py_ssize_t last, bint at_edge, Py_ssize_t channel, const Py_ssize_t count,
) noexcept nogil:
    cdef vreal total
    cdef Py_ssize_t column
    if at_edge:
        for column in range(first, last):
            add_edge(sums, sums_step, line, column, channel, count)
    else:
        add_columns(sums, sums_step, line, first, last, channel, count)
    total = v_load(bias_sums + channel)
    for column in range(first, last):
        total += load_lanes(line.out + column * line.out_step + channel, count)
    v_store(bias_sums + channel, total)


cdef inline void add_window_tile(
    const int window, const bint at_edge, real* sums, real* bias_sums, const Py_ssize_t sums_step,
    const Line* line, Py_ssize_t column,
) noexcept nogil:
    cdef Py_ssize_t channel = 0
    while channel + LANES <= line.channels:
        window_products(window, at_edge, sums, bias_sums, sums_step, line, column, channel, LANES)
        channel += LANES
    if channel < line.channels:
        window_products(window, at_edge, sums, bias_sums, sums_step, line, column, channel,
                        line.channels - channel)


cdef inline void add_windows(
    const int window, real* sums, real* bias_sums, const Py_ssize_t sums_step, const Line* line,
) noexcept nogil:
    """Adds a row's products, tile by tile"""
    cdef Py_ssize_t column = 0
    while column < line.columns:
        if at_edge_of(line, window, column):
            add_window_tile(window, True, sums, bias_sums, sums_step, line, column)
        else:
            add_window_tile(window, False, sums, bias_sums, sums_step, line, column)
        column += WINDOW_TILE


cdef void add_line(real* sums, Py_ssize_t sums_step, Py_ssize_t taps, const Line* line) noexcept nogil:
    """Adds a row's products: strips of columns, so that memory is read nearly in its own order"""
    cdef Py_ssize_t inside, outside, first = 0, last, channel
    cdef real* bias_sums = sums + taps * sums_step
    cdef bint at_edge
    if line.window == 3:
        add_windows(3, sums, bias_sums, sums_step, line)
        return
    if line.window == 5:
        add_windows(5, sums, bias_sums, sums_step, line)
        return
    if line.window == 7:
        add_windows(7, sums, bias_sums, sums_step, line)
        return
    interior_of(line, &inside, &outside)
    while first < line.columns:
        at_edge = first < inside or first >= outside
        if first < inside:
            last = inside
        elif first < outside:
            last = min(first + STRIP, outside)
        else:
            last = line.columns
        channel = 0
        while channel + LANES <= line.channels:
            add_strip(sums, bias_sums, sums_step, line, first, last, at_edge, channel, LANES)
            channel += LANES
        if channel < line.channels:
            add_strip(sums, bias_sums, sums_step, line, first, last, at_edge, channel,
                      line.channels - channel)
        first = last


cdef struct Sum:
    const Convolution* g
    real* dweight
    real* dbias          # or NULL
    const real* x
    const real* dy
    real* sums           # (CHUNKS, taps + 1, padded channels)


cdef void sum_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    """sums (taps + 1, padded channels) of a chunk: of the weights' gradient, then of the bias's"""
    cdef const Sum* sum = <const Sum*>context
    cdef const Convolution* c = sum.g
    cdef Tap* taps = <Tap*>workspace
    cdef Py_ssize_t rows = c.images * c.out_height, row, image
    cdef Py_ssize_t sums_step = padded_channels(c), tap_count = c.kernel_height * c.kernel_width
    cdef real* sums = sum.sums + chunk * (tap_count + 1) * sums_step
    cdef Line line
    memset(sums, 0, (tap_count + 1) * sums_step * sizeof(real))
    line.channels, line.columns, line.out_step = c.channels, c.out_width, c.channels
    line.inputs, line.input_step = sum.x, c.stride_width * c.channels
    line.column_step, line.input_columns, line.taps = c.stride_width, c.width, taps
    line.window, line.turned = window_of(c), False
    for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
        image = row // c.out_height
        # Here it is read: the gradient of the row.
        line.out = <real*>sum.dy + row * c.out_width * c.channels
        line.tap_count = taps_of_row(taps, c, row - image * c.out_height, image * c.height)
        look_ahead(&line, c.width * c.channels)
        add_line(sums, sums_step, tap_count, &line)


cdef void add_chunks(const void* context, Py_ssize_t vector, char* workspace) noexcept nogil:
    """A vector of channels of both gradients: the sums of the chunks, in order"""
    cdef const Sum* sum = <const Sum*>context
    cdef const Convolution* c = sum.g
    cdef Py_ssize_t channel = vector * LANES
    cdef Py_ssize_t taps = c.kernel_height * c.kernel_width, step = padded_channels(c)
    cdef Py_ssize_t count = min(<Py_ssize_t>LANES, c.channels - channel), tap, chunk
    cdef vreal total
    for tap in range(taps + 1):
        total = v_load(sum.sums + tap * step + channel)
        for chunk in range(1, CHUNKS):
            total += v_load(sum.sums + (chunk * (taps + 1) + tap) * step + channel)
        if tap < taps:
            v_store_first(sum.dweight + tap * c.channels + channel, total, count)
        elif sum.dbias != NULL:
            v_store_first(sum.dbias + channel, total, count)


cdef void conv2d_depthwise_backward_parameters(
    real* dweight,             # (kernel_height, kernel_width, channels)
    real* dbias,               # (channels,) or NULL
    const real* x,             # (images, height, width, channels)
    const real* dy,            # (images, out_height, out_width, channels)
    const Convolution* c, char* workspace, Py_ssize_t workspace_per_thread,
    real* sums,                # (CHUNKS, taps + 1, padded channels)
    int threads,
) noexcept nogil:
    """dweight = the sum over pixels of x * dy, dbias = that of dy"""
    cdef Sum sum = Sum(c, dweight, dbias, x, dy, sums)
    run_tasks(sum_chunk, &sum, CHUNKS, workspace, workspace_per_thread, threads)
    run_tasks(add_chunks, &sum, padded_channels(c) // LANES, workspace, workspace_per_thread, threads)


cdef void run_conv2d_depthwise_backward_parameters(const Step* s) noexcept nogil:
    cdef Convolution c = convolution_of(s)
    conv2d_depthwise_backward_parameters(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &c,
        s.workspace, s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


CONSTANTS = {"CHUNKS": CHUNKS}
KERNELS = {
    "conv2d_depthwise_backward_parameters": publish(run_conv2d_depthwise_backward_parameters),
}
