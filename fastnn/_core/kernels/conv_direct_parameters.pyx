"""The gradients of the parameters of a convolution, as a product of patches (patches.pxd) with dy.

    dweight (taps, filters) = patches^T (taps, pixels) @ dy (pixels, filters)

It sums over all pixels of all images. The bands are split in a fixed number of parts, each with a
partial sum of its own, and these are added in order: the result is the same at any number of
threads. Where partial sums are large there are fewer of them, and slices of the taps are tasks too.
Where the filters are one vector, pixels of a row share their inputs (row_tile.pxd).
"""

from libc.string cimport memset

from fastnn._core.kernels.convolution cimport Convolution, ceiling, convolution_of
from fastnn._core.kernels.matmul cimport panel_bounds, panel_count
from fastnn._core.kernels.patch_tile cimport CACHE_LINE, Ahead, patch_product
from fastnn._core.kernels.patches cimport (
    Band,
    Patches,
    Space,
    patches_of_input,
    pixel_tables,
    space_of,
    take_band,
    tap_table,
)
from fastnn._core.kernels.row_tile cimport ROWS_FIT, row_gradient, shares_inputs
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    # Pixels of one sum in registers: long beside reading and writing the tile, and a panel of dy is
    # still in L1 (36 KB at the most).
    BLOCK_PIXELS = 192
    # Partial sums: that many parts, fewer if that makes more elements than these.
    PARTS = 16
    PARTIAL_ELEMENTS = 1048576
    # A part of fewer pixels would cost more to add than to sum.
    LEAST_PIXELS = 256


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
    bint by_rows          # of pixels that share their inputs (row_tile.pxd)
    real* dweight
    real* dbias           # or NULL
    const real* x
    const real* dy
    real* partial
    Py_ssize_t depth
    Py_ssize_t parts
    Py_ssize_t slices


cdef inline Ahead next_block(
    const Patches* p, const Band* band, const real* last_dy, const real* last_x, Py_ssize_t pixels,
) noexcept nogil:
    """What the next block reads: behind the last pixel of this one, and as much as this one read."""
    cdef Ahead ahead
    ahead.b = <const char*>(last_dy + p.out_channels)
    ahead.b_lines = ceiling(pixels * p.out_channels * sizeof(real), CACHE_LINE)
    ahead.a = <const char*>last_x
    # A copied band is in the cache.
    ahead.a_lines = ceiling(pixels * p.channels * sizeof(real), CACHE_LINE) if p.in_place else 0
    return ahead


cdef void sum_task(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """One slice of the taps over one part of the bands."""
    cdef const Sum* sum = <const Sum*>context
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
    cdef Ahead ahead
    memset(dweight + tap * p.out_channels, 0, taps * p.out_channels * sizeof(real))
    if slice == 0:
        memset(dbias, 0, p.out_channels * sizeof(real))
    tap_table(space.taps, p, &sum.g, False, 0, 0, 0)
    for i in range(sum.depth):
        rows[i] = <int>(i * p.out_channels)
    for index in range(part * p.bands // sum.parts, (part + 1) * p.bands // sum.parts):
        band = take_band(sum.x, p, index, space.band)
        n = pixel_tables(space.pixels, space.outputs, p, &band, 0, 0)
        dy = sum.dy + (band.first_image * p.out_height * p.out_width) * p.out_channels
        for block in range(ceiling(n, BLOCK_PIXELS)):
            pixel = block * BLOCK_PIXELS
            count = min(<Py_ssize_t>BLOCK_PIXELS, n - pixel)
            if ROWS_FIT and sum.by_rows:
                row_gradient(sum.g.kernel_width, sum.g.kernel_height, channels, count,
                             pixel % p.grid_width, p.grid_width, band.data, space.pixels + pixel,
                             sum.g.dilation_height * p.row_stride, dy + space.outputs[pixel], dweight,
                             filters)
                add_pixels(dbias, dy + space.outputs[pixel], count, filters)
                continue
            ahead = next_block(p, &band, dy + space.outputs[pixel + count - 1],
                               band.data + space.pixels[pixel + count - 1] + space.taps[sum.depth - 1],
                               count)
            for group in range(sum.g.groups):
                for panel in range(panels):
                    panel_bounds(panel, panels, filters, &first, &vectors, &last_lanes)
                    first += group * filters
                    patch_product(vectors, taps, count, band.data + group * channels,
                                  space.taps + tap, space.pixels + pixel,
                                  dy + space.outputs[pixel] + first, p.out_channels,
                                  dweight + first, rows + tap, NULL, True, last_lanes, &ahead)
            if slice == 0:
                add_pixels(dbias, dy + space.outputs[pixel], count, p.out_channels)


cdef void add_parts(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """A row of dweight, the sum of all parts in order; the row behind the last is dbias."""
    cdef const Sum* sum = <const Sum*>context
    cdef Py_ssize_t part, columns = sum.patches.out_channels, size = (sum.depth + 1) * columns
    cdef real* total = sum.dbias if row == sum.depth else sum.dweight + row * columns
    memset(total, 0, columns * sizeof(real))
    for part in range(sum.parts):
        add_row(total, sum.partial + part * size + row * columns, columns)


cdef void conv2d_direct_backward_parameters(
    real* dweight,       # (kernel_height, kernel_width, channels / groups, filters)
    real* dbias,         # (filters,) or NULL
    const real* x,       # (images, height, width, channels)
    const real* dy,      # (images, out_height, out_width, filters)
    Convolution g, char* workspace, Py_ssize_t workspace_per_thread, real* partial, int threads,
) noexcept nogil:
    """dweight = patches^T dy, dbias = the sum of dy over pixels and images"""
    cdef Sum sum
    sum.dweight, sum.dbias = dweight, dbias
    sum.g, sum.patches, sum.x, sum.dy, sum.partial = g, patches_of_input(&g), x, dy, partial
    sum.patches.by_borders = False
    sum.depth = g.kernel_height * g.kernel_width * (g.channels // g.groups)
    sum.parts = min(max(PARTIAL_ELEMENTS // ((sum.depth + 1) * g.filters), <Py_ssize_t>1),
                    <Py_ssize_t>PARTS, sum.patches.bands,
                    ceiling(g.images * g.out_height * g.out_width, LEAST_PIXELS))
    sum.by_rows = shares_inputs(&g)
    sum.slices = 1
    if not sum.by_rows:
        sum.slices = min(ceiling(PARTS, sum.parts), ceiling(sum.depth, 4 * TILE_ROWS))
    run_tasks(sum_task, &sum, sum.parts * sum.slices, workspace, workspace_per_thread, threads)
    run_tasks(add_parts, &sum, sum.depth + (dbias != NULL), workspace, workspace_per_thread, threads)


cdef void run_conv2d_direct_backward_parameters(const Step* s) noexcept nogil:
    conv2d_direct_backward_parameters(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                                      <real*>s.data[3], convolution_of(s), s.workspace,
                                      s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


CONSTANTS = {"PARTS": PARTS, "PARTIAL_ELEMENTS": PARTIAL_ELEMENTS}
KERNELS = {
    "conv2d_direct_backward_parameters": publish(run_conv2d_direct_backward_parameters),
}
