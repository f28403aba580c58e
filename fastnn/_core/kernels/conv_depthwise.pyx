"""Depthwise convolution: every channel has a filter of its own (groups = channels = filters).

    y[i, j, :] = the sum over taps of weight[tap, :] * x[i', j', :]      vectors are channels

There is nothing to multiply as matrices: a tap is one vector of weights, and a tile of some outputs
in a row keeps its sums in registers while it goes through the taps (depthwise_lines.pxd). The usual
kernels without a stride have tiles that load an input once for all taps of a row
(depthwise_window.pxd); with others, columns at the edges, where some taps lie outside, are done one
by one.

The gradient of the weights is in conv_depthwise_parameters.pyx.
"""

from fastnn._core.kernels.activation_rows cimport (
    activation_backward_row,
    activation_forward_row,
)
from fastnn._core.kernels.convolution cimport Convolution, convolution_of
from fastnn._core.kernels.depthwise_lines cimport (
    Line,
    Tap,
    interior_of,
    lies_inside,
    look_ahead,
    taps_of_row,
    taps_on_pixels,
    window_of,
)
from fastnn._core.kernels.depthwise_window cimport WINDOW_TILE, at_edge_of, window_tile
from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.simd cimport LANES, real, v_set, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Outputs whose sums stay in registers beside a weight, in 16 registers too.
    TILE = 8


cdef inline void tile_channels(
    const int columns, const int vectors, const bint at_edge, const Line* line, Py_ssize_t column,
    Py_ssize_t channel, const Py_ssize_t count,
) noexcept nogil:
    """Outputs of `columns` columns, `vectors` vectors (both literals) of `count` channels."""
    cdef vreal sums[8]
    cdef vreal weight
    cdef const real* weights
    cdef const real* values
    cdef real* out = line.out + column * line.out_step + channel
    cdef Py_ssize_t k
    cdef int t, v
    for v in range(vectors):
        weight = v_set(0)
        if line.start != NULL:
            weight = load_lanes(line.start + channel + v * LANES, count)
        for t in range(columns):
            sums[v * columns + t] = weight
    for k in range(line.tap_count):
        if at_edge and not lies_inside(line, column, line.taps + k):
            continue
        weights = line.weight + line.taps[k].weight + channel
        values = line.inputs + line.taps[k].offset + column * line.input_step + channel
        for v in range(vectors):
            weight = load_lanes(weights + v * LANES, count)
            for t in range(columns):
                sums[v * columns + t] += weight * load_lanes(
                    values + t * line.input_step + v * LANES, count)
    for v in range(vectors):
        for t in range(columns):
            store_lanes(out + t * line.out_step + v * LANES, sums[v * columns + t], count)


cdef inline void tile_pixels(
    const int columns, const bint at_edge, const Line* line, Py_ssize_t column,
) noexcept nogil:
    """All channels; the last vector overlaps the one before it, both get the same values there."""
    cdef Py_ssize_t channel = 0
    if columns <= 2:
        # One sum alone would wait for itself at every tap.
        while channel + 4 * LANES <= line.channels:
            tile_channels(columns, 4, at_edge, line, column, channel, LANES)
            channel += 4 * LANES
    while channel + LANES <= line.channels:
        tile_channels(columns, 1, at_edge, line, column, channel, LANES)
        channel += LANES
    if line.channels < LANES:
        tile_channels(columns, 1, at_edge, line, column, 0, line.channels)
    elif channel < line.channels:
        tile_channels(columns, 1, at_edge, line, column, line.channels - LANES, LANES)


cdef inline void window_channels(
    const int window, const bint at_edge, const Line* line, Py_ssize_t column,
) noexcept nogil:
    """All channels of a tile; the last vector overlaps the one before it, as in `tile_pixels`."""
    cdef Py_ssize_t channel = 0
    while channel + LANES <= line.channels:
        window_tile(window, at_edge, line, column, channel, LANES)
        channel += LANES
    if line.channels < LANES:
        window_tile(window, at_edge, line, column, 0, line.channels)
    elif channel < line.channels:
        window_tile(window, at_edge, line, column, line.channels - LANES, LANES)


cdef inline void window_line(const int window, const Line* line) noexcept nogil:
    cdef Py_ssize_t column = 0
    while column < line.columns:
        if at_edge_of(line, window, column):
            window_channels(window, True, line, column)
        else:
            window_channels(window, False, line, column)
        column += WINDOW_TILE


cdef void do_line(const Line* line) noexcept nogil:
    cdef Py_ssize_t first, last, column
    if line.window == 3:
        window_line(3, line)
        return
    if line.window == 5:
        window_line(5, line)
        return
    if line.window == 7:
        window_line(7, line)
        return
    interior_of(line, &first, &last)
    for column in range(first):
        tile_pixels(1, True, line, column)
    column = first
    while column + TILE <= last:
        tile_pixels(TILE, False, line, column)
        column += TILE
    if column + 4 <= last:
        tile_pixels(4, False, line, column)
        column += 4
    if column + 2 <= last:
        tile_pixels(2, False, line, column)
        column += 2
    if column < last:
        tile_pixels(1, False, line, column)
    for column in range(last, line.columns):
        tile_pixels(1, True, line, column)


cdef struct Job:
    # out = the convolution of inputs with weight, then f of it or times f'(output)
    const Convolution* g
    real* out
    const real* inputs
    const real* weight
    const real* start        # forward: the bias, or NULL
    const real* output       # backward: of the activation before, or NULL
    real slope


cdef void forward_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all output rows of all images"""
    cdef const Job* job = <const Job*>context
    cdef const Convolution* c = job.g
    cdef Tap* taps = <Tap*>workspace
    cdef Py_ssize_t image = row // c.out_height
    cdef Py_ssize_t out_row = c.out_width * c.channels
    cdef Line line
    line.channels, line.columns = c.channels, c.out_width
    line.out, line.out_step = job.out + row * out_row, c.channels
    line.inputs, line.input_step = job.inputs, c.stride_width * c.channels
    line.column_step, line.input_columns = c.stride_width, c.width
    line.weight, line.start, line.taps = job.weight, job.start, taps
    line.window, line.turned = window_of(c), False
    line.tap_count = taps_of_row(taps, c, row - image * c.out_height, image * c.height)
    look_ahead(&line, c.width * c.channels)
    do_line(&line)
    activation_forward_row(c.activation, line.out, line.out, out_row, job.slope)


cdef void conv2d_depthwise_forward(
    real* y,                   # (images, out_height, out_width, channels)
    const real* x,             # (images, height, width, channels)
    const real* weight,        # (kernel_height, kernel_width, channels)
    const real* bias,          # (channels,) or NULL
    const Convolution* c, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """y = f(the sum over taps of weight * x + bias), by channel"""
    cdef Job job = Job(c, y, x, weight, bias, NULL, slope)
    run_tasks(forward_row, &job, c.images * c.out_height, workspace, workspace_per_thread, threads)


cdef void backward_input_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all input rows of all images"""
    cdef const Job* job = <const Job*>context
    cdef const Convolution* c = job.g
    cdef Tap* taps = <Tap*>workspace
    cdef Py_ssize_t image = row // c.height, in_row = c.width * c.channels, remainder
    cdef real* dx = job.out + row * in_row
    cdef Line line
    line.channels, line.start, line.weight, line.taps = c.channels, NULL, job.weight, taps
    line.inputs, line.input_step = job.inputs, c.channels
    line.column_step, line.input_columns = 1, c.out_width
    line.window, line.turned = window_of(c), True
    line.out_step = c.stride_width * c.channels
    for remainder in range(min(c.stride_width, c.width)):
        line.columns = (c.width - remainder + c.stride_width - 1) // c.stride_width
        line.out = dx + remainder * c.channels
        line.tap_count = taps_on_pixels(taps, c, row - image * c.height, remainder,
                                        image * c.out_height)
        look_ahead(&line, c.out_width * c.channels)
        do_line(&line)
    if job.output != NULL:
        activation_backward_row(c.activation, dx, dx, job.output + row * in_row, in_row, job.slope)


cdef void conv2d_depthwise_backward_input(
    real* dx,                  # (images, height, width, channels)
    const real* dy,            # (images, out_height, out_width, channels)
    const real* weight,        # (kernel_height, kernel_width, channels)
    const real* x,             # (images, height, width, channels) or NULL
    const Convolution* c, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = the sum over taps of weight * dy, times f' of the activation that made x"""
    cdef Job job = Job(c, dx, dy, weight, NULL, x, slope)
    run_tasks(backward_input_row, &job, c.images * c.height, workspace, workspace_per_thread, threads)


cdef void run_conv2d_depthwise_forward(const Step* s) noexcept nogil:
    cdef Convolution c = convolution_of(s)
    conv2d_depthwise_forward(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &c,
        <real>s.scalar[0], s.workspace, s.workspace_per_thread, s.threads)


cdef void run_conv2d_depthwise_backward_input(const Step* s) noexcept nogil:
    cdef Convolution c = convolution_of(s)
    conv2d_depthwise_backward_input(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &c,
        <real>s.scalar[0], s.workspace, s.workspace_per_thread, s.threads)


KERNELS = {
    "conv2d_depthwise_forward": publish(run_conv2d_depthwise_forward),
    "conv2d_depthwise_backward_input": publish(run_conv2d_depthwise_backward_input),
}
