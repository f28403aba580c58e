"""The gradient of a convolution's input as a product and col2im: where channels fill no vectors.

    dy (pixels, filters) @ weight^T (filters, taps * channels)
        │
        ▼
    columns (pixels, taps * channels) ──each pixel of dx adds up what lies for it──▶ dx

A row of columns is what a pixel of dy says about its patch: taps times channels beside each other,
which are nearly whole vectors when the channels alone (6 or 20) are not, and no product is spent on
taps that lie outside of dy. Columns are made for a band of rows of dx and stay in the second-level
cache. Nothing is scattered: a pixel of dx goes over the outputs that have it in their patches, by
two small tables, so that its sum has one order whatever the bands are.
"""

from fastnn._core.kernels.activation_rows cimport activation_backward_row
from fastnn._core.kernels.convolution cimport Convolution, convolution_of
from fastnn._core.kernels.matmul cimport (
    panel_bounds,
    panel_count,
    panel_product,
    transpose_panel,
)
from fastnn._core.simd cimport LANES, real, v_load, v_set, v_store, v_store_first, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    UNIT = 16                  # rows of columns are a multiple of this, on every instruction set
    BAND_ELEMENTS = 131072     # of columns: half of a second-level cache in float32
    # Bands that there should be for the threads to share, however few images there are.
    LEAST_BANDS = 8
    MOST_VECTORS = 4           # of channels, whose sums stay in registers over a patch


cdef struct Job:
    const Convolution* g
    real* dx
    const real* dy
    const real* prepared
    const real* output         # of the activation before, or NULL
    real slope
    Py_ssize_t depth           # taps * channels
    Py_ssize_t column_row      # elements from a row of columns to the next
    Py_ssize_t rows_of_band    # of dx
    Py_ssize_t bands_of_image

cdef struct Tables:
    # For a column of dx the outputs of a row that see it: `counts` of them, at these offsets
    Py_ssize_t* counts
    Py_ssize_t* offsets        # (width, kernel_width)
    Py_ssize_t* rows           # the same for the row that is worked on: (kernel_height,)


cdef inline Py_ssize_t depth_of(const Convolution* g) noexcept nogil:
    return g.kernel_height * g.kernel_width * g.channels


cdef inline Py_ssize_t whole_row(Py_ssize_t depth) noexcept nogil:
    """An odd number of lines, so that the rows of a tile lie in different sets of the cache."""
    return ((depth + UNIT - 1) // UNIT | 1) * UNIT


cdef inline Py_ssize_t outputs_of_rows(const Convolution* g, Py_ssize_t rows) noexcept nogil:
    """The most rows of dy that see some rows of dx."""
    return min((rows - 1 + (g.kernel_height - 1) * g.dilation_height) // g.stride_height + 1,
               g.out_height)


# ---- weights ------------------------------------------------------------------------------------

cdef struct Weights:
    const Convolution* g
    real* prepared
    const real* weight


cdef void prepare_panel(const void* context, Py_ssize_t panel, char* workspace) noexcept nogil:
    cdef const Weights* w = <const Weights*>context
    cdef Py_ssize_t depth = depth_of(w.g), filters = w.g.filters, first, vectors, last_lanes
    panel_bounds(panel, panel_count(depth), depth, &first, &vectors, &last_lanes)
    transpose_panel(w.prepared + first * filters, w.weight + first * filters, filters, filters,
                    (vectors - 1) * LANES + last_lanes, vectors)


cdef void conv2d_col2im_weight(
    real* prepared,      # (panels, filters, columns of a panel)
    const real* weight,  # (kernel_height, kernel_width, channels, filters)
    const Convolution* g, int threads,
) noexcept nogil:
    """The weights as a matrix (filters, taps * channels), in panels"""
    cdef Weights w = Weights(g, prepared, weight)
    run_tasks(prepare_panel, &w, panel_count(depth_of(g)), NULL, 0, threads)


# ---- backward -----------------------------------------------------------------------------------

cdef inline bint sees(
    Py_ssize_t position, Py_ssize_t tap, Py_ssize_t pad, Py_ssize_t stride, Py_ssize_t dilation,
    Py_ssize_t outputs, Py_ssize_t* output,
) noexcept nogil:
    """Whether an output has the position of an input under a tap, and which."""
    cdef Py_ssize_t first = position + pad - tap * dilation
    output[0] = first // stride
    return first >= 0 and first % stride == 0 and output[0] < outputs


cdef void fill_columns_table(const Tables* tables, const Job* job) noexcept nogil:
    cdef const Convolution* g = job.g
    cdef Py_ssize_t column, tap, output, count
    for column in range(g.width):
        count = 0
        for tap in range(g.kernel_width):
            if sees(column, tap, g.pad_left, g.stride_width, g.dilation_width, g.out_width, &output):
                tables.offsets[column * g.kernel_width + count] = (
                    output * job.column_row + tap * g.channels)
                count += 1
        tables.counts[column] = count


cdef inline void sum_of_pixel(
    const int vectors, real* dx, const real* columns, const Py_ssize_t* rows, const Py_ssize_t row_count,
    const Py_ssize_t* offsets, const Py_ssize_t offset_count, const Py_ssize_t last_lanes,
) noexcept nogil:
    """`vectors` (a literal) vectors of channels of a pixel of dx"""
    cdef vreal sums[4]
    cdef const real* from_row
    cdef Py_ssize_t row, i
    cdef int j
    for j in range(vectors):
        sums[j] = v_set(0)
    for row in range(row_count):  # no-cython-lint
        from_row = columns + rows[row]
        for i in range(offset_count):  # no-cython-lint
            for j in range(vectors):
                sums[j] += v_load(from_row + offsets[i] + j * LANES)
    for j in range(vectors - 1):
        v_store(dx + j * LANES, sums[j])
    if last_lanes == LANES:
        v_store(dx + (vectors - 1) * LANES, sums[vectors - 1])
    else:
        v_store_first(dx + (vectors - 1) * LANES, sums[vectors - 1], last_lanes)


cdef void sum_row(
    const Job* job, const real* columns, const Tables* tables, real* dx, Py_ssize_t row_count,
) noexcept nogil:
    """A row of pixels of dx, of what lies for them in `row_count` rows of outputs"""
    cdef const Convolution* g = job.g
    cdef Py_ssize_t vectors = (g.channels + LANES - 1) // LANES
    cdef Py_ssize_t column, channel, here, lanes, count
    cdef const Py_ssize_t* offsets
    for column in range(g.width):
        offsets = tables.offsets + column * g.kernel_width
        count = tables.counts[column]
        channel = 0
        while channel < g.channels:
            here = min(vectors - channel // LANES, <Py_ssize_t>MOST_VECTORS)
            lanes = min(<Py_ssize_t>LANES, g.channels - channel - (here - 1) * LANES)
            if here == 1:
                sum_of_pixel(1, dx + channel, columns + channel, tables.rows, row_count, offsets,
                             count, lanes)
            elif here == 2:
                sum_of_pixel(2, dx + channel, columns + channel, tables.rows, row_count, offsets,
                             count, lanes)
            elif here == 3:
                sum_of_pixel(3, dx + channel, columns + channel, tables.rows, row_count, offsets,
                             count, lanes)
            else:
                sum_of_pixel(4, dx + channel, columns + channel, tables.rows, row_count, offsets,
                             count, lanes)
            channel += here * LANES
        dx += g.channels


cdef void band_gradient(const void* context, Py_ssize_t band, char* workspace) noexcept nogil:
    """Some rows of dx of an image."""
    cdef const Job* job = <const Job*>context
    cdef const Convolution* g = job.g
    cdef Py_ssize_t image = band // job.bands_of_image
    cdef Py_ssize_t first = band % job.bands_of_image * job.rows_of_band
    cdef Py_ssize_t last = min(first + job.rows_of_band, g.height)
    # The first output that reaches so far down, and the one behind the last that begins before.
    cdef Py_ssize_t out_first = max(
        first + g.pad_top - (g.kernel_height - 1) * g.dilation_height + g.stride_height - 1,
        <Py_ssize_t>0) // g.stride_height
    cdef Py_ssize_t out_last = min((last - 1 + g.pad_top) // g.stride_height + 1, g.out_height)
    cdef Py_ssize_t pixels = max(out_last - out_first, <Py_ssize_t>0) * g.out_width
    cdef Py_ssize_t panel, panels = panel_count(job.depth), first_column, vectors, last_lanes
    cdef Py_ssize_t row, tap, output, count, at
    cdef const real* dy = job.dy + (image * g.out_height + out_first) * g.out_width * g.filters
    cdef real* columns = <real*>workspace
    cdef Tables tables
    tables.counts = <Py_ssize_t*>(columns + max(
        <Py_ssize_t>BAND_ELEMENTS, outputs_of_rows(g, 1) * g.out_width * job.column_row))
    tables.offsets = tables.counts + g.width
    tables.rows = tables.offsets + g.width * g.kernel_width
    fill_columns_table(&tables, job)
    for panel in range(panels):
        panel_bounds(panel, panels, job.depth, &first_column, &vectors, &last_lanes)
        panel_product(vectors, False, pixels, g.filters, dy, g.filters, 1,
                      job.prepared + first_column * g.filters, vectors * LANES,
                      columns + first_column, job.column_row, NULL, False, LANES)
    for row in range(first, last):
        count = 0
        for tap in range(g.kernel_height):
            if sees(row, tap, g.pad_top, g.stride_height, g.dilation_height, g.out_height, &output):
                tables.rows[count] = ((output - out_first) * g.out_width * job.column_row
                                      + tap * g.kernel_width * g.channels)
                count += 1
        at = (image * g.height + row) * g.width * g.channels
        sum_row(job, columns, &tables, job.dx + at, count)
        if job.output != NULL:
            activation_backward_row(g.activation, job.dx + at, job.dx + at, job.output + at,
                                    g.width * g.channels, job.slope)


cdef inline Py_ssize_t band_rows(const Convolution* g, Py_ssize_t column_row) noexcept nogil:
    """Rows of dx whose columns fit, and few enough that all threads have a band."""
    cdef Py_ssize_t rows = (g.height * g.images + LEAST_BANDS - 1) // LEAST_BANDS
    rows = max(min(rows, g.height), <Py_ssize_t>1)
    while rows > 1 and outputs_of_rows(g, rows) * g.out_width * column_row > BAND_ELEMENTS:
        rows -= 1
    return rows


cdef void conv2d_col2im_backward_input(
    real* dx,              # (images, height, width, channels)
    const real* dy,        # (images, out_height, out_width, filters)
    const real* prepared,  # by conv2d_col2im_weight
    const real* x,         # as dx, or NULL: the output of the activation before
    const Convolution* g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = the gradient of conv to its input, times the derivative of the activation that made x"""
    cdef Job job
    job.g, job.dx, job.dy, job.prepared, job.output, job.slope = g, dx, dy, prepared, x, slope
    job.depth = depth_of(g)
    job.column_row = whole_row(job.depth)
    job.rows_of_band = band_rows(g, job.column_row)
    job.bands_of_image = (g.height + job.rows_of_band - 1) // job.rows_of_band
    run_tasks(band_gradient, &job, g.images * job.bands_of_image, workspace, workspace_per_thread,
              threads)


cdef void run_conv2d_col2im_weight(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_col2im_weight(<real*>s.data[0], <real*>s.data[1], &g, s.threads)


cdef void run_conv2d_col2im_backward_input(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_col2im_backward_input(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &g,
        <real>s.scalar[0], s.workspace, s.workspace_per_thread, s.threads)


CONSTANTS = {"UNIT": UNIT, "BAND_ELEMENTS": BAND_ELEMENTS}
KERNELS = {
    "conv2d_col2im_weight": publish(run_conv2d_col2im_weight),
    "conv2d_col2im_backward_input": publish(run_conv2d_col2im_backward_input),
}
