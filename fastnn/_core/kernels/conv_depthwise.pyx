"""Depthwise convolution: every channel has a filter of its own (groups = channels = filters).

    y[i, j, :] = the sum over taps of weight[tap, :] * x[i', j', :]      vectors are channels

There is nothing to multiply as matrices: a tap is one vector of weights, and a tile of some outputs
in a row keeps its sums in registers while it goes through the taps. A Line is such a row of outputs
at equal distances, with a list of the taps that count for it. The output of forward is one line a
row; a row of the input's gradient is one line for each remainder of the column by the stride, since
those columns meet the same taps. Columns at the edges, where some taps lie outside, are done one by
one.

The gradient of the weights is a sum over all pixels: rows are split into CHUNKS parts, whatever the
number of threads, and the parts' sums are added in their order.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnn._core.kernels.activation_rows cimport (
    activation_backward_row,
    activation_forward_row,
)
from fastnn._core.kernels.convolution cimport Convolution, convolution_of
from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.simd cimport (
    LANES,
    real,
    v_load,
    v_set,
    v_store,
    v_store_first,
    vreal,
)
from fastnn._core.step cimport Step, publish

cdef enum:
    # Parts of the rows, with sums of their own (fastnn/_compiler/convolution/depthwise.py has the
    # same number): enough for the cores there are, few enough to add up at once.
    CHUNKS = 32
    # Outputs whose sums stay in registers beside a weight, in 16 registers too.
    TILE = 8
    # Columns over which the sums of the weights' gradient stay in registers.
    STRIP = 16

cdef struct Tap:
    Py_ssize_t weight          # where its weights begin
    Py_ssize_t offset          # of its input from that of tap (0, 0) without padding
    Py_ssize_t shift           # the columns of that offset

cdef struct Line:
    Py_ssize_t channels
    Py_ssize_t columns         # outputs
    real* out
    Py_ssize_t out_step        # from one output to the next
    const real* inputs
    Py_ssize_t input_step
    Py_ssize_t column_step     # the same in columns
    Py_ssize_t input_columns
    const real* weight         # (taps, channels)
    const real* start          # (channels,) or NULL
    Tap* taps
    Py_ssize_t tap_count


cdef inline bint lies_inside(const Line* line, Py_ssize_t column, const Tap* tap) noexcept nogil:
    cdef Py_ssize_t position = column * line.column_step + tap.shift
    return position >= 0 and position < line.input_columns


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


cdef inline void interior_of(const Line* line, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil:
    """The columns from `first` to `last` whose taps all lie inside"""
    cdef Py_ssize_t least = 0, most = 0, k
    for k in range(line.tap_count):
        least = min(least, line.taps[k].shift)
        most = max(most, line.taps[k].shift)
    first[0] = min(line.columns, (line.column_step - 1 - least) // line.column_step)
    last[0] = 0
    if line.input_columns > most:
        last[0] = min(line.columns, (line.input_columns - 1 - most) // line.column_step + 1)
    last[0] = max(first[0], last[0])


cdef void do_line(const Line* line) noexcept nogil:
    cdef Py_ssize_t first, last, column
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


cdef Py_ssize_t taps_of_row(
    Tap* taps, const Convolution* c, Py_ssize_t out_row, Py_ssize_t from_image,
) noexcept nogil:
    """The taps of an output row on the input; `from_image` is the first row of the image"""
    cdef Py_ssize_t r, s, row, count = 0
    for r in range(c.kernel_height):
        row = out_row * c.stride_height - c.pad_top + r * c.dilation_height
        if row < 0 or row >= c.height:
            continue
        for s in range(c.kernel_width):
            taps[count].weight = (r * c.kernel_width + s) * c.channels
            taps[count].shift = s * c.dilation_width - c.pad_left
            taps[count].offset = ((from_image + row) * c.width + taps[count].shift) * c.channels
            count += 1
    return count


cdef void forward_row(
    real* y, const real* x, const real* weight, const real* bias, const Convolution* c, real slope,
    Tap* taps, Py_ssize_t row,
) noexcept nogil:
    """Row `row` of all output rows of all images"""
    cdef Py_ssize_t image = row // c.out_height
    cdef Py_ssize_t out_row = c.out_width * c.channels
    cdef Line line
    line.channels, line.columns = c.channels, c.out_width
    line.out, line.out_step = y + row * out_row, c.channels
    line.inputs, line.input_step = x, c.stride_width * c.channels
    line.column_step, line.input_columns = c.stride_width, c.width
    line.weight, line.start, line.taps = weight, bias, taps
    line.tap_count = taps_of_row(taps, c, row - image * c.out_height, image * c.height)
    do_line(&line)
    activation_forward_row(c.activation, line.out, line.out, out_row, slope)


cdef void conv2d_depthwise_forward(
    real* y,                   # (images, out_height, out_width, channels)
    const real* x,             # (images, height, width, channels)
    const real* weight,        # (kernel_height, kernel_width, channels)
    const real* bias,          # (channels,) or NULL
    const Convolution* c, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """y = f(the sum over taps of weight * x + bias), by channel"""
    cdef Py_ssize_t row, rows = c.images * c.out_height
    if threads == 1:
        for row in range(rows):
            forward_row(y, x, weight, bias, c, slope, <Tap*>workspace, row)
        return
    for row in prange(rows, schedule="static", num_threads=threads):
        forward_row(y, x, weight, bias, c, slope,
                    <Tap*>(workspace + threadid() * workspace_per_thread), row)


cdef Py_ssize_t taps_on_pixels(
    Tap* taps, const Convolution* c, Py_ssize_t row, Py_ssize_t remainder, Py_ssize_t from_image,
) noexcept nogil:
    """The taps of outputs that meet an input row in columns of a remainder by the stride

    Output column j * stride + remainder sees dy in column j + shift by such a tap.
    """
    cdef Py_ssize_t r, s, down, across, count = 0
    for r in range(c.kernel_height):
        down = row + c.pad_top - r * c.dilation_height
        if down < 0 or down % c.stride_height != 0 or down // c.stride_height >= c.out_height:
            continue
        down = down // c.stride_height
        for s in range(c.kernel_width):
            across = remainder + c.pad_left - s * c.dilation_width
            if across % c.stride_width != 0:
                continue
            taps[count].weight = (r * c.kernel_width + s) * c.channels
            taps[count].shift = across // c.stride_width
            taps[count].offset = (
                ((from_image + down) * c.out_width + taps[count].shift) * c.channels)
            count += 1
    return count


cdef void backward_input_row(
    real* dx, const real* dy, const real* weight, const real* x, const Convolution* c, real slope,
    Tap* taps, Py_ssize_t row,
) noexcept nogil:
    """Row `row` of all input rows of all images"""
    cdef Py_ssize_t image = row // c.height, in_row = c.width * c.channels, remainder
    cdef Line line
    dx += row * in_row
    line.channels, line.start, line.weight, line.taps = c.channels, NULL, weight, taps
    line.inputs, line.input_step = dy, c.channels
    line.column_step, line.input_columns = 1, c.out_width
    line.out_step = c.stride_width * c.channels
    for remainder in range(min(c.stride_width, c.width)):
        line.columns = (c.width - remainder + c.stride_width - 1) // c.stride_width
        line.out = dx + remainder * c.channels
        line.tap_count = taps_on_pixels(taps, c, row - image * c.height, remainder,
                                        image * c.out_height)
        do_line(&line)
    if x != NULL:
        activation_backward_row(c.activation, dx, dx, x + row * in_row, in_row, slope)


cdef void conv2d_depthwise_backward_input(
    real* dx,                  # (images, height, width, channels)
    const real* dy,            # (images, out_height, out_width, channels)
    const real* weight,        # (kernel_height, kernel_width, channels)
    const real* x,             # (images, height, width, channels) or NULL
    const Convolution* c, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = the sum over taps of weight * dy, times f' of the activation that made x"""
    cdef Py_ssize_t row, rows = c.images * c.height
    if threads == 1:
        for row in range(rows):
            backward_input_row(dx, dy, weight, x, c, slope, <Tap*>workspace, row)
        return
    for row in prange(rows, schedule="static", num_threads=threads):
        backward_input_row(dx, dy, weight, x, c, slope,
                           <Tap*>(workspace + threadid() * workspace_per_thread), row)


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


cdef void add_line(real* sums, Py_ssize_t sums_step, Py_ssize_t taps, const Line* line) noexcept nogil:
    """Adds a row's products: strips of columns, so that memory is read nearly in its own order"""
    cdef Py_ssize_t inside, outside, first = 0, last, channel
    cdef real* bias_sums = sums + taps * sums_step
    cdef bint at_edge
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


cdef void sum_chunk(
    real* sums, const real* x, const real* dy, const Convolution* c, Tap* taps, Py_ssize_t chunk,
) noexcept nogil:
    """sums (taps + 1, padded channels) of a chunk: of the weights' gradient, then of the bias's"""
    cdef Py_ssize_t rows = c.images * c.out_height, row, image
    cdef Py_ssize_t sums_step = padded_channels(c), tap_count = c.kernel_height * c.kernel_width
    cdef Line line
    sums += chunk * (tap_count + 1) * sums_step
    memset(sums, 0, (tap_count + 1) * sums_step * sizeof(real))
    line.channels, line.columns, line.out_step = c.channels, c.out_width, c.channels
    line.inputs, line.input_step = x, c.stride_width * c.channels
    line.column_step, line.input_columns, line.taps = c.stride_width, c.width, taps
    for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
        image = row // c.out_height
        # Here it is read: the gradient of the row.
        line.out = <real*>dy + row * c.out_width * c.channels
        line.tap_count = taps_of_row(taps, c, row - image * c.out_height, image * c.height)
        add_line(sums, sums_step, tap_count, &line)


cdef void add_chunks(
    real* dweight, real* dbias, const real* sums, const Convolution* c, Py_ssize_t channel,
) noexcept nogil:
    """A vector of channels of both gradients: the sums of the chunks, in order"""
    cdef Py_ssize_t taps = c.kernel_height * c.kernel_width, step = padded_channels(c)
    cdef Py_ssize_t count = min(<Py_ssize_t>LANES, c.channels - channel), tap, chunk
    cdef vreal total
    for tap in range(taps + 1):
        total = v_load(sums + tap * step + channel)
        for chunk in range(1, CHUNKS):
            total += v_load(sums + (chunk * (taps + 1) + tap) * step + channel)
        if tap < taps:
            v_store_first(dweight + tap * c.channels + channel, total, count)
        elif dbias != NULL:
            v_store_first(dbias + channel, total, count)


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
    cdef Py_ssize_t chunk, vector, vectors = padded_channels(c) // LANES
    for chunk in prange(CHUNKS, schedule="static", num_threads=threads, use_threads_if=threads > 1):
        sum_chunk(sums, x, dy, c, <Tap*>(workspace + threadid() * workspace_per_thread), chunk)
    for vector in prange(vectors, schedule="static", num_threads=threads, use_threads_if=threads > 1):
        add_chunks(dweight, dbias, sums, c, vector * LANES)


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


cdef void run_conv2d_depthwise_backward_parameters(const Step* s) noexcept nogil:
    cdef Convolution c = convolution_of(s)
    conv2d_depthwise_backward_parameters(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &c,
        s.workspace, s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


KERNELS = {
    "conv2d_depthwise_forward": publish(run_conv2d_depthwise_forward),
    "conv2d_depthwise_backward_input": publish(run_conv2d_depthwise_backward_input),
    "conv2d_depthwise_backward_parameters": publish(run_conv2d_depthwise_backward_parameters),
}
