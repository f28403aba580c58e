"""Convolution as a product with patches that are never written out (patches.pxd).

Weights are prepared in panels of one to TILE_VECTORS vectors, each as deep as a patch, so that a
tile reads them in one stream:

    group ▶ panel of output channels ▶ phase ▶ tap ▶ channel ▶ the panel's output channels

Forward and backward to the input are one loop over bands of the output, which the threads share.
Forward to one vector of filters goes by pixels of a row, which share their inputs (row_tile.pxd).
"""

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, ceiling, convolution_of
from fastnn._core.kernels.matmul cimport copy_panel, panel_bounds, panel_count, transpose_panel
from fastnn._core.kernels.patch_tile cimport patch_product
from fastnn._core.kernels.patches cimport (
    BAND_ELEMENTS,
    BAND_PIXELS,
    Band,
    Patches,
    Space,
    Taps,
    part_of_band,
    patches_of_gradient,
    patches_of_input,
    pixel_tables,
    space_of,
    take_band,
    tap_table,
)
from fastnn._core.kernels.row_tile cimport row_product, shares_inputs
from fastnn._core.simd cimport LANES, real
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    # Pixels whose results are finished together: with 48 filters 18 KB, which are still in L1 when
    # the activation comes over them. A multiple of all TILE_ROWS.
    BLOCK_PIXELS = 96
    # Depth of a panel that is used before it is left: 192 KB, in L2 beside the band.
    BLOCK_DEPTH = 1024

cdef struct Job

ctypedef void (*ConvolvePart)(const Job* job, const Band* band, const Space* space) noexcept nogil

cdef struct Job:
    Convolution g
    Patches patches
    bint backward
    # convolve_rows, or convolve_pixel_rows; through a pointer, so that neither's tiles are compiled
    # into the other's loops
    ConvolvePart convolve_part
    real* y                 # or dx
    const real* x           # or dy
    const real* weight      # prepared
    const real* start       # the bias, or NULL
    const real* output      # backward: of the activation before, or NULL
    real slope

cdef struct Weights:
    const Convolution* g
    real* prepared
    const real* weight


cdef inline Py_ssize_t padded_columns(Py_ssize_t columns) noexcept nogil:
    return ceiling(columns, LANES) * LANES


cdef void prepare_panel(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """One panel of one group."""
    cdef const Weights* w = <const Weights*>context
    cdef const Convolution* g = w.g
    cdef Py_ssize_t channels = g.channels // g.groups, filters = g.filters // g.groups
    cdef Py_ssize_t taps = g.kernel_height * g.kernel_width
    cdef Py_ssize_t columns = channels if g.for_backward else filters
    cdef Py_ssize_t depth = filters if g.for_backward else channels
    cdef Py_ssize_t panels = panel_count(columns), panel = task % panels, group = task // panels
    cdef Py_ssize_t first, vectors, last_lanes, phase_height, phase_width, r, s
    cdef real* prepared
    cdef const real* weight = w.weight + group * filters
    panel_bounds(panel, panels, columns, &first, &vectors, &last_lanes)
    prepared = w.prepared + (group * padded_columns(columns) + first) * taps * depth
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
    cdef Weights w = Weights(&g, prepared, weight)
    run_tasks(prepare_panel, &w, g.groups * panel_count(columns), NULL, 0, threads)


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
                          last_lanes, NULL)
        if job.g.activation and (output != NULL or not job.backward):
            finish(job, y + first, output + first if output != NULL else NULL, outputs, count,
                   (vectors - 1) * LANES + last_lanes)


cdef void convolve_rows(const Job* job, const Band* band, const Space* space) noexcept nogil:
    """All pixels of a band of the output, or of a part of one."""
    cdef const Patches* p = &job.patches
    cdef Py_ssize_t channels = p.channels // job.g.groups, columns = p.out_channels // job.g.groups
    cdef Py_ssize_t whole_depth = job.g.kernel_height * job.g.kernel_width * channels
    cdef Py_ssize_t before = band.first_image * p.out_height * p.out_width * p.out_channels
    cdef Py_ssize_t phase_height, phase_width, group, n, block, pixel, out
    cdef Py_ssize_t depth_before = 0
    cdef Taps taps
    for phase_height in range(p.out_stride_height):
        for phase_width in range(p.out_stride_width):
            n = pixel_tables(space.pixels, space.outputs, p, band, phase_height, phase_width)
            taps = tap_table(space.taps, p, &job.g, job.backward, phase_height, phase_width,
                             band.first_row)
            for group in range(job.g.groups):
                out = before + group * columns
                for block in range(ceiling(n, BLOCK_PIXELS)):
                    pixel = block * BLOCK_PIXELS
                    convolve_block(
                        job, band.data + group * channels, space.pixels + pixel,
                        space.outputs + pixel, space.taps,
                        min(<Py_ssize_t>BLOCK_PIXELS, n - pixel), taps.count,
                        depth_before + taps.outside,
                        whole_depth, job.weight + group * padded_columns(columns) * whole_depth,
                        job.y + out, job.start + group * columns if job.start != NULL else NULL,
                        job.output + out if job.output != NULL else NULL, columns)
            depth_before += taps.of_phase


cdef void convolve_pixel_rows(const Job* job, const Band* band, const Space* space) noexcept nogil:
    """As convolve_rows, forward, where the pixels of a row share their inputs."""
    cdef const Patches* p = &job.patches
    cdef Py_ssize_t filters = p.out_channels, pixel = 0, count, n, block = BLOCK_PIXELS
    cdef real* y = job.y + band.first_image * p.out_height * p.out_width * filters
    cdef Taps taps
    if p.grid_width < BLOCK_PIXELS:
        block = BLOCK_PIXELS // p.grid_width * p.grid_width  # whole rows
    n = pixel_tables(space.pixels, space.outputs, p, band, 0, 0)
    taps = tap_table(space.taps, p, &job.g, False, 0, 0, band.first_row)
    while pixel < n:
        count = min(block, n - pixel)
        row_product(job.g.kernel_width, taps.count // (job.g.kernel_width * job.g.channels),
                    job.g.channels, count, pixel % p.grid_width, p.grid_width,
                    band.data, space.pixels + pixel, space.taps, job.weight + taps.outside * LANES,
                    y, space.outputs + pixel, filters, job.start)
        if job.g.activation:
            finish(job, y, NULL, space.outputs + pixel, count, filters)
        pixel += count


cdef void convolve_band(const void* context, Py_ssize_t index, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef const Patches* p = &job.patches
    cdef Space space = space_of(workspace, p)
    cdef Band band = take_band(job.x, p, index, space.band), part
    cdef Py_ssize_t image, row
    if not p.by_borders:
        job.convolve_part(job, &band, &space)
        return
    for image in range(band.images):
        row = 0
        while row < band.rows:
            part = part_of_band(p, &band, image, row)
            job.convolve_part(job, &part, &space)
            row += part.rows


cdef void conv2d_direct_forward(
    real* y,             # (images, out_height, out_width, filters)
    const real* x,       # (images, height, width, channels)
    const real* weight,  # prepared
    const real* bias,    # (filters,) or NULL
    Convolution g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """y = f(conv(x, weight) + bias)"""
    cdef Job job = Job(g, patches_of_input(&g), False, convolve_rows, y, x, weight, bias, NULL, slope)
    if shares_inputs(&g):
        job.convolve_part = convolve_pixel_rows
    run_tasks(convolve_band, &job, job.patches.bands, workspace, workspace_per_thread, threads)


cdef void conv2d_direct_backward_input(
    real* dx,            # (images, height, width, channels)
    const real* dy,      # (images, out_height, out_width, filters)
    const real* weight,  # prepared for_backward
    const real* x,       # (images, height, width, channels): output of the activation before, or NULL
    Convolution g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = the gradient of conv to its input, times the derivative of the activation that made x"""
    cdef Job job = Job(g, patches_of_gradient(&g), True, convolve_rows, dx, dy, weight, NULL, x, slope)
    run_tasks(convolve_band, &job, job.patches.bands, workspace, workspace_per_thread, threads)


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


CONSTANTS = {"BAND_ELEMENTS": BAND_ELEMENTS, "BAND_PIXELS": BAND_PIXELS}
KERNELS = {
    "conv2d_direct_weight": publish(run_conv2d_direct_weight),
    "conv2d_direct_forward": publish(run_conv2d_direct_forward),
    "conv2d_direct_backward_input": publish(run_conv2d_direct_backward_input),
}
