"""Convolution as a product with patches that are never written out (patches.pxd).

Weights are prepared in panels of one to TILE_VECTORS vectors, each as deep as a patch, so that a
tile reads them in one stream:

    group ▶ panel of output channels ▶ phase ▶ tap ▶ channel ▶ the panel's output channels

Forward and backward to the input are one loop over bands of the output, which the threads share.
Backward to the parameters sums over pixels: the bands are split in a fixed number of parts, each
with a partial sum of its own, and these are added in order.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, convolution_of
from fastnn._core.kernels.matmul cimport copy_panel, panel_bounds, panel_count, transpose_panel
from fastnn._core.kernels.patches cimport (
    BAND_ELEMENTS,
    BAND_PIXELS,
    Band,
    Patches,
    ceiling,
    patch_tiles,
    patches_of_gradient,
    patches_of_input,
    pixel_tables,
    take_band,
    tap_table,
)
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    TILE_VECTORS,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    vreal,
)
from fastnn._core.step cimport Step, publish


cdef enum:
    # Pixels whose results are finished together: with 48 filters 18 KB, which are still in L1 when
    # the activation comes over them, and so is dy backward. A multiple of all TILE_ROWS.
    BLOCK_PIXELS = 192
    # Depth of a panel that is used before it is left: 192 KB, in L2 beside the band.
    BLOCK_DEPTH = 1024
    # Partial sums of the weights' gradient: that many parts, fewer if that makes more elements
    # than these (then parts are cut by taps too). Also in fastnn/_compiler/convolution/direct.py.
    PARTS = 16
    PARTIAL_ELEMENTS = 1048576

cdef struct Job:
    Convolution g
    Patches patches
    bint backward
    real* y                 # or dx
    const real* x           # or dy
    const real* weight      # prepared
    const real* start       # the bias, or NULL
    const real* output      # backward: of the activation before, or NULL
    real slope

cdef struct Space:
    # A thread's workspace
    real* band
    int* pixels
    int* outputs
    int* taps


cdef Space space_of(char* workspace, const Patches* p) noexcept nogil:
    cdef Space space
    cdef Py_ssize_t pixels = max(<Py_ssize_t>BAND_PIXELS, p.grid_width)
    cdef Py_ssize_t elements = max(<Py_ssize_t>BAND_ELEMENTS,
                                   p.reach_height * p.padded_width * p.channels)
    space.band = <real*>workspace
    space.pixels = <int*>(space.band + elements)
    space.outputs = space.pixels + pixels
    space.taps = space.outputs + pixels
    return space


cdef void patch_product(
    Py_ssize_t vectors, Py_ssize_t rows, Py_ssize_t depth,
    const real* a, const int* a_rows, const int* a_depth,
    const real* b, Py_ssize_t b_depth,
    real* c, const int* c_rows, const real* start, bint accumulate, Py_ssize_t last_lanes,
) noexcept nogil:
    """The one place where the tiles are unrolled."""
    if vectors == 1:
        patch_tiles(1, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes)
    elif vectors == 2:
        patch_tiles(2, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes)
    elif TILE_VECTORS >= 3 and vectors == 3:
        patch_tiles(3, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes)
    elif TILE_VECTORS >= 4 and vectors == 4:
        patch_tiles(4, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes)


cdef inline Py_ssize_t padded_columns(Py_ssize_t columns) noexcept nogil:
    return ceiling(columns, LANES) * LANES


cdef void prepare_panel(
    real* prepared, const real* weight, const Convolution* g, Py_ssize_t task,
) noexcept nogil:
    """One panel of one group."""
    cdef Py_ssize_t channels = g.channels // g.groups, filters = g.filters // g.groups
    cdef Py_ssize_t taps = g.kernel_height * g.kernel_width
    cdef Py_ssize_t columns = channels if g.for_backward else filters
    cdef Py_ssize_t depth = filters if g.for_backward else channels
    cdef Py_ssize_t panels = panel_count(columns), panel = task % panels, group = task // panels
    cdef Py_ssize_t first, vectors, last_lanes, phase_height, phase_width, r, s
    panel_bounds(panel, panels, columns, &first, &vectors, &last_lanes)
    prepared += (group * padded_columns(columns) + first) * taps * depth
    weight += group * filters
    if not g.for_backward:
        copy_panel(prepared, weight + first, g.filters, taps * depth, vectors)
        return
    weight += first * g.filters
    for phase_height in range(g.stride_height):
        for phase_width in range(g.stride_width):
            for r in range(g.kernel_height):
                for s in range(g.kernel_width):
                    if (r * g.dilation_height % g.stride_height == phase_height
                            and s * g.dilation_width % g.stride_width == phase_width):
                        transpose_panel(
                            prepared, weight + (r * g.kernel_width + s) * channels * g.filters,
                            g.filters, depth, (vectors - 1) * LANES + last_lanes, vectors)
                        prepared += depth * vectors * LANES


cdef void conv2d_direct_weight(
    real* prepared,      # groups x ceil(columns / LANES) x LANES x depth elements, in panels
    const real* weight,  # (kernel_height, kernel_width, channels / groups, filters)
    Convolution g, int threads,
) noexcept nogil:
    """The weights in panels; for_backward: of input channels, the taps in the order of the phases"""
    cdef Py_ssize_t columns = (g.channels if g.for_backward else g.filters) // g.groups
    cdef Py_ssize_t task, tasks = g.groups * panel_count(columns)
    if threads == 1:
        for task in range(tasks):
            prepare_panel(prepared, weight, &g, task)
        return
    for task in prange(tasks, schedule="static", num_threads=threads):
        prepare_panel(prepared, weight, &g, task)


cdef void finish(
    const Job* job, real* y, const real* output, const int* at, Py_ssize_t pixels,
    Py_ssize_t count,
) noexcept nogil:
    """The activation, or its gradient, over `count` channels of some pixels."""
    cdef Py_ssize_t i, pieces = pixels
    if count == job.patches.out_channels and at[pixels - 1] - at[0] == (pixels - 1) * count:
        # Whole pixels without a gap: one row.
        pieces, count = 1, pixels * count
    for i in range(pieces):
        if job.backward:
            activation_backward_row(job.g.activation, y + at[i], y + at[i], output + at[i], count,
                                    job.slope)
        else:
            activation_forward_row(job.g.activation, y + at[i], y + at[i], count, job.slope)


cdef void convolve_block(
    const Job* job, const real* band, const int* pixels, const int* outputs, const int* taps,
    Py_ssize_t count, Py_ssize_t depth, Py_ssize_t depth_before, Py_ssize_t whole_depth,
    const real* weight, real* y, const real* start, const real* output,
    Py_ssize_t columns,
) noexcept nogil:
    """`count` pixels of all panels of a group, through the taps of a phase.

    These lie behind the `depth_before` of the phases before, in a panel of `whole_depth`.
    """
    cdef Py_ssize_t panel, panels = panel_count(columns), first, vectors, last_lanes
    cdef Py_ssize_t piece, pieces = max(ceiling(depth, BLOCK_DEPTH), <Py_ssize_t>1), k, k_end
    for panel in range(panels):
        panel_bounds(panel, panels, columns, &first, &vectors, &last_lanes)
        for piece in range(pieces):
            k = piece * depth // pieces
            k_end = (piece + 1) * depth // pieces
            patch_product(vectors, count, k_end - k, band, pixels, taps + k,
                          weight + first * whole_depth + (depth_before + k) * vectors * LANES,
                          vectors * LANES,
                          y + first, outputs, start + first if start != NULL else NULL, piece > 0,
                          last_lanes)
        if job.g.activation and (output != NULL or not job.backward):
            finish(job, y + first, output + first if output != NULL else NULL, outputs, count,
                   (vectors - 1) * LANES + last_lanes)


cdef void convolve_band(const Job* job, Py_ssize_t index, char* workspace) noexcept nogil:
    """All pixels of one band of the output."""
    cdef const Patches* p = &job.patches
    cdef Space space = space_of(workspace, p)
    cdef Band band = take_band(job.x, p, index, space.band)
    cdef Py_ssize_t channels = p.channels // job.g.groups, columns = p.out_channels // job.g.groups
    cdef Py_ssize_t whole_depth = job.g.kernel_height * job.g.kernel_width * channels
    cdef Py_ssize_t before = band.first_image * p.out_height * p.out_width * p.out_channels
    cdef Py_ssize_t phase, group, n, depth, block, pixel, depth_before = 0, out
    for phase in range(p.out_stride_height * p.out_stride_width):
        n = pixel_tables(space.pixels, space.outputs, p, &band,
                         phase // p.out_stride_width, phase % p.out_stride_width)
        depth = tap_table(space.taps, p, &job.g, job.backward,
                          phase // p.out_stride_width, phase % p.out_stride_width)
        for group in range(job.g.groups):
            out = before + group * columns
            for block in range(ceiling(n, BLOCK_PIXELS)):
                pixel = block * BLOCK_PIXELS
                convolve_block(
                    job, band.data + group * channels, space.pixels + pixel, space.outputs + pixel,
                    space.taps, min(<Py_ssize_t>BLOCK_PIXELS, n - pixel), depth, depth_before,
                    whole_depth, job.weight + group * padded_columns(columns) * whole_depth,
                    job.y + out, job.start + group * columns if job.start != NULL else NULL,
                    job.output + out if job.output != NULL else NULL, columns)
        depth_before += depth


cdef void convolve(
    const Job* job, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    cdef Py_ssize_t band
    if threads == 1:
        for band in range(job.patches.bands):
            convolve_band(job, band, workspace)
        return
    for band in prange(job.patches.bands, schedule="dynamic", num_threads=threads):
        convolve_band(job, band, workspace + threadid() * workspace_per_thread)


cdef void conv2d_direct_forward(
    real* y,             # (images, out_height, out_width, filters)
    const real* x,       # (images, height, width, channels)
    const real* weight,  # prepared
    const real* bias,    # (filters,) or NULL
    Convolution g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """y = f(conv(x, weight) + bias)"""
    cdef Job job = Job(g, patches_of_input(&g), False, y, x, weight, bias, NULL, slope)
    convolve(&job, workspace, workspace_per_thread, threads)


cdef void conv2d_direct_backward_input(
    real* dx,            # (images, height, width, channels)
    const real* dy,      # (images, out_height, out_width, filters)
    const real* weight,  # prepared for_backward
    const real* x,       # (images, height, width, channels): output of the activation before, or NULL
    Convolution g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = the gradient of conv to its input, times the derivative of the activation that made x"""
    cdef Job job = Job(g, patches_of_gradient(&g), True, dx, dy, weight, NULL, x, slope)
    convolve(&job, workspace, workspace_per_thread, threads)


cdef void add_row(real* total, const real* row, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        v_store(total + i, v_load(total + i) + v_load(row + i))
        i += LANES
    if i < n:
        v_store_first(total + i, v_load_first(total + i, n - i) + v_load_first(row + i, n - i), n - i)


cdef void add_pixels(
    real* total, const real* dy, Py_ssize_t pixels, Py_ssize_t channels,
) noexcept nogil:
    """total (channels,) += the sum of dy (pixels, channels), in four sums that don't wait for another."""
    cdef vreal sums[4]
    cdef Py_ssize_t channel = 0, pixel, lanes
    cdef int i
    while channel < channels:
        lanes = min(<Py_ssize_t>LANES, channels - channel)
        for i in range(4):
            sums[i] = v_set(0)
        pixel = 0
        while pixel + 4 <= pixels:
            for i in range(4):
                sums[i] += v_load_first(dy + (pixel + i) * channels + channel, lanes)
            pixel += 4
        while pixel < pixels:
            sums[0] += v_load_first(dy + pixel * channels + channel, lanes)
            pixel += 1
        sums[0] = (sums[0] + sums[1]) + (sums[2] + sums[3])
        v_store_first(total + channel, v_load_first(total + channel, lanes) + sums[0], lanes)
        channel += LANES


cdef struct Sum:
    # Partial sums of dweight and dbias over parts of the bands; slices of the taps are tasks too
    Convolution g
    Patches patches
    const real* x
    const real* dy
    real* partial
    Py_ssize_t depth
    Py_ssize_t parts
    Py_ssize_t slices


cdef void sum_task(const Sum* sum, Py_ssize_t task, char* workspace) noexcept nogil:
    """One slice of the taps over one part of the bands."""
    cdef const Patches* p = &sum.patches
    cdef Space space = space_of(workspace, p)
    cdef Py_ssize_t part = task // sum.slices, slice = task % sum.slices
    cdef Py_ssize_t channels = p.channels // sum.g.groups, filters = p.out_channels // sum.g.groups
    cdef Py_ssize_t panel, panels = panel_count(filters), first, vectors, last_lanes
    cdef Py_ssize_t group, n, block, pixel, count, index, i
    cdef Py_ssize_t tap = slice * sum.depth // sum.slices
    cdef Py_ssize_t taps = (slice + 1) * sum.depth // sum.slices - tap
    cdef int* rows = space.taps + sum.depth
    cdef real* dweight = sum.partial + part * (sum.depth + 1) * p.out_channels
    cdef real* dbias = dweight + sum.depth * p.out_channels
    cdef const real* dy
    cdef Band band
    memset(dweight + tap * p.out_channels, 0, taps * p.out_channels * sizeof(real))
    if slice == 0:
        memset(dbias, 0, p.out_channels * sizeof(real))
    tap_table(space.taps, p, &sum.g, False, 0, 0)
    for i in range(sum.depth):
        rows[i] = <int>(i * p.out_channels)
    for index in range(part * p.bands // sum.parts, (part + 1) * p.bands // sum.parts):
        band = take_band(sum.x, p, index, space.band)
        n = pixel_tables(space.pixels, space.outputs, p, &band, 0, 0)
        dy = sum.dy + (band.first_image * p.out_height * p.out_width) * p.out_channels
        for block in range(ceiling(n, BLOCK_PIXELS)):
            pixel = block * BLOCK_PIXELS
            count = min(<Py_ssize_t>BLOCK_PIXELS, n - pixel)
            for group in range(sum.g.groups):
                for panel in range(panels):
                    panel_bounds(panel, panels, filters, &first, &vectors, &last_lanes)
                    first += group * filters
                    patch_product(vectors, taps, count, band.data + group * channels,
                                  space.taps + tap, space.pixels + pixel,
                                  dy + space.outputs[pixel] + first, p.out_channels,
                                  dweight + first, rows + tap, NULL, True, last_lanes)
            if slice == 0:
                add_pixels(dbias, dy + space.outputs[pixel], count, p.out_channels)


cdef void add_parts(
    real* total, const Sum* sum, Py_ssize_t row, Py_ssize_t rows,
) noexcept nogil:
    """Rows of the sum of all parts, in order; the last row is dbias."""
    cdef Py_ssize_t part, columns = sum.patches.out_channels, size = (sum.depth + 1) * columns
    memset(total, 0, rows * columns * sizeof(real))
    for part in range(sum.parts):
        add_row(total, sum.partial + part * size + row * columns, rows * columns)


cdef void conv2d_direct_backward_parameters(
    real* dweight,       # (kernel_height, kernel_width, channels / groups, filters)
    real* dbias,         # (filters,) or NULL
    const real* x,       # (images, height, width, channels)
    const real* dy,      # (images, out_height, out_width, filters)
    Convolution g, char* workspace, Py_ssize_t workspace_per_thread, real* partial, int threads,
) noexcept nogil:
    """dweight = patches^T dy, dbias = the sum of dy over pixels and images"""
    cdef Sum sum
    cdef Py_ssize_t task, row
    sum.g, sum.patches, sum.x, sum.dy, sum.partial = g, patches_of_input(&g), x, dy, partial
    sum.depth = g.kernel_height * g.kernel_width * (g.channels // g.groups)
    sum.parts = min(max(PARTIAL_ELEMENTS // ((sum.depth + 1) * g.filters), <Py_ssize_t>1),
                    <Py_ssize_t>PARTS, sum.patches.bands)
    sum.slices = min(ceiling(PARTS, sum.parts), ceiling(sum.depth, 4 * TILE_ROWS))
    if threads == 1:
        for task in range(sum.parts * sum.slices):
            sum_task(&sum, task, workspace)
        add_parts(dweight, &sum, 0, sum.depth)
    else:
        for task in prange(sum.parts * sum.slices, schedule="dynamic", num_threads=threads):
            sum_task(&sum, task, workspace + threadid() * workspace_per_thread)
        for row in prange(sum.depth, schedule="static", num_threads=threads):
            add_parts(dweight + row * g.filters, &sum, row, 1)
    if dbias != NULL:
        add_parts(dbias, &sum, sum.depth, 1)


cdef void run_conv2d_direct_weight(const Step* s) noexcept nogil:
    conv2d_direct_weight(<real*>s.data[0], <real*>s.data[1], convolution_of(s), s.threads)


cdef void run_conv2d_direct_forward(const Step* s) noexcept nogil:
    conv2d_direct_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                          convolution_of(s), <real>s.scalar[0],
                          s.workspace, s.workspace_per_thread, s.threads)


cdef void run_conv2d_direct_backward_input(const Step* s) noexcept nogil:
    conv2d_direct_backward_input(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                                 <real*>s.data[3], convolution_of(s), <real>s.scalar[0],
                                 s.workspace, s.workspace_per_thread, s.threads)


cdef void run_conv2d_direct_backward_parameters(const Step* s) noexcept nogil:
    conv2d_direct_backward_parameters(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                                      <real*>s.data[3], convolution_of(s), s.workspace,
                                      s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


KERNELS = {
    "conv2d_direct_weight": publish(run_conv2d_direct_weight),
    "conv2d_direct_forward": publish(run_conv2d_direct_forward),
    "conv2d_direct_backward_input": publish(run_conv2d_direct_backward_input),
    "conv2d_direct_backward_parameters": publish(run_conv2d_direct_backward_parameters),
}
