"""Winograd's convolution with images in the lanes (image_lanes.pxd), where channels fill no vectors.

    forward    x ─lanes─▶ ─B^T x B─▶ V ──U V──▶ M ─A^T M A─▶ ─images─▶ y
    backward   dx ◀─images─ ◀─B E B^T─ E ◀─U^T D── D ◀─A dy A^T─ ◀─lanes─ dy

The gradient of the input is the transpose of the forward pass, step by step, and reads the same U.
Beside the convolution of dy with flipped weights (conv_winograd.pyx) it has as many tiles as y has,
not as many as x: 16 for 36 where 12 x 12 pixels become 8 x 8. Its tiles of dx overlap, and add up.

A task is a band of rows of LANES images. A row of tiles is worked on by a few tiles at a time, whose
planes stay in the second-level cache. Bands of dx overlap: tiles over their border are computed for
both, so that each pixel is one thread's, and adds up its tiles in one order whatever the bands are.
"""

from libc.string cimport memset

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, ceiling, convolution_of
from fastnn._core.kernels.image_lanes cimport (
    into_lanes,
    lanes_product,
    out_of_lanes,
    tiles_of_registers,
)
from fastnn._core.kernels.winograd_tiles cimport (
    UNIT,
    input_tile,
    output_gradient_tile,
    output_tile,
    weight_vector,
)
from fastnn._core.kernels.winograd_tiling cimport whole_units
from fastnn._core.kernels.winograd_transforms cimport POINTS, PRODUCTS
from fastnn._core.simd cimport (
    LANES,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    BAND_ELEMENTS = 131072     # of a band of x: half of a second-level cache in float32


cdef struct Job:
    Convolution g
    int taps
    Py_ssize_t outputs         # of a tile along an axis
    Py_ssize_t tiles_down
    Py_ssize_t tiles_across
    Py_ssize_t wide_filters
    Py_ssize_t weight_plane    # elements of a plane of U
    Py_ssize_t block           # tiles that are worked on together
    Py_ssize_t groups          # of LANES images
    Py_ssize_t band_rows       # rows of x, or of dx, that a band may have
    Py_ssize_t bands           # of an image
    real* y                    # or dx
    const real* x              # or dy
    const real* prepared
    const real* bias           # or NULL
    const real* output         # backward: of the activation before, or NULL
    real slope

cdef struct Space:
    # The workspace of a thread; images in it have LANES times as many channels
    real* zeros                # as many pixels as a tile has in a row
    real* spare                # a pixel: of y, the bias; of dx, what lies outside
    real* band                 # rows of x, or dx
    real* row                  # pixels of y, or dy, of a row of tiles
    real* v                    # (36 planes, tiles, channels), or E
    real* m                    # (36 planes, tiles, filters), or D
    Py_ssize_t plane_v
    Py_ssize_t plane_m


cdef Job job_of(const Convolution* g) noexcept nogil:
    cdef Job job
    job.g = g[0]
    job.taps = <int>g.kernel_height
    job.outputs = 7 - job.taps
    job.tiles_down = ceiling(g.out_height, job.outputs)
    job.tiles_across = ceiling(g.out_width, job.outputs)
    job.wide_filters = whole_units(g.filters)
    # A line more, so that the planes of an element lie in different sets of the cache.
    job.weight_plane = g.channels * job.wide_filters + UNIT
    job.block = ceiling(job.tiles_across, ceiling(job.tiles_across, tiles_of_registers()))
    job.groups = ceiling(g.images, LANES)
    job.band_rows = max(BAND_ELEMENTS // (g.width * g.channels * LANES), <Py_ssize_t>POINTS)
    return job


cdef Space space_of(const Job* job, char* workspace) noexcept nogil:
    """As fastnn/_compiler/convolution/winograd_images.py counts it."""
    cdef Space space
    cdef const Convolution* g = &job.g
    cdef Py_ssize_t wide = max(g.channels, g.filters) * LANES
    space.plane_v = job.block * g.channels * LANES + UNIT
    space.plane_m = job.block * g.filters * LANES + UNIT
    space.zeros = <real*>workspace
    space.spare = space.zeros + POINTS * wide
    space.band = space.spare + wide
    space.row = space.band + min(job.band_rows, g.height) * g.width * g.channels * LANES
    space.v = space.row + job.outputs * g.out_width * g.filters * LANES
    space.m = space.v + PRODUCTS * space.plane_v
    memset(space.zeros, 0, POINTS * wide * sizeof(real))
    return space


# ---- weights ------------------------------------------------------------------------------------

cdef inline void weights_of_channel(
    const int taps, const Job* job, real* u, const real* weight, const Py_ssize_t channel,
) noexcept nogil:
    """U of one channel, all filters."""
    cdef const Convolution* g = &job.g
    cdef vreal taps_of[25]
    cdef Py_ssize_t first = 0
    cdef int tap
    while first < g.filters:
        for tap in range(taps * taps):
            taps_of[tap] = v_load_first(weight + (tap * g.channels + channel) * g.filters + first,
                                        min(<Py_ssize_t>LANES, g.filters - first))
        weight_vector(taps, taps_of, u + channel * job.wide_filters + first, job.weight_plane)
        first += LANES


cdef struct Weights:
    Job job
    real* u
    const real* weight


cdef void weight_task(const void* context, Py_ssize_t channel, char* workspace) noexcept nogil:
    cdef const Weights* w = <const Weights*>context
    if w.job.taps == 3:
        weights_of_channel(3, &w.job, w.u, w.weight, channel)
    else:
        weights_of_channel(5, &w.job, w.u, w.weight, channel)


cdef void conv2d_winograd_images_weight(
    real* u,             # (36, channels, wide_filters), planes `weight_plane` apart
    const real* weight,  # (taps, taps, channels, filters)
    const Convolution* g, int threads,
) noexcept nogil:
    """u = G g G^T, for both directions"""
    cdef Weights w = Weights(job_of(g), u, weight)
    run_tasks(weight_task, &w, g.channels, NULL, 0, threads)


# ---- forward ------------------------------------------------------------------------------------

cdef void products(
    const Job* job, const Space* space, Py_ssize_t tiles, bint backward,
) noexcept nogil:
    """m (filters, LANES) = U^T v (channels, LANES) for each point and tile; backward: v = U m"""
    cdef const Convolution* g = &job.g
    cdef Py_ssize_t point, rows = g.filters, depth = g.channels, a_row = 1, a_depth = job.wide_filters
    cdef Py_ssize_t plane_from = space.plane_v, plane_to = space.plane_m
    cdef const real* source = space.v
    cdef real* to = space.m
    if backward:
        rows, depth, a_row, a_depth = g.channels, g.filters, job.wide_filters, 1
        plane_from, plane_to = space.plane_m, space.plane_v
        source, to = space.m, space.v
    for point in range(PRODUCTS):
        lanes_product(tiles, rows, depth, job.prepared + point * job.weight_plane, a_row, a_depth,
                      source + point * plane_from, depth * LANES,
                      to + point * plane_to, rows * LANES)


cdef inline void tiles_forward(
    const int taps, const Job* job, const Space* space, const Py_ssize_t first, const Py_ssize_t last,
    const Py_ssize_t top, const Py_ssize_t band_rows, const Py_ssize_t rows,
) noexcept nogil:
    """Some tiles of a row: from the band into the row of pixels of y, of which there are `rows`."""
    cdef const Convolution* g = &job.g
    cdef Py_ssize_t tile, channels = g.channels * LANES, filters = g.filters * LANES
    for tile in range(first, last):
        input_tile(space.v + (tile - first) * channels, space.plane_v, UNIT, space.band, top,
                   tile * job.outputs - g.pad_left, band_rows, g.width, channels, space.zeros)
    products(job, space, last - first, False)
    for tile in range(first, last):
        output_tile(taps, space.row + tile * job.outputs * filters, g.out_width * filters, filters,
                    space.m + (tile - first) * filters, space.plane_m, UNIT, space.spare, rows,
                    min(job.outputs, g.out_width - tile * job.outputs))


cdef void forward_task(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """A band of rows of tiles of a group of images."""
    cdef const Job* job = <const Job*>context
    cdef const Convolution* g = &job.g
    cdef Space space = space_of(job, workspace)
    cdef Py_ssize_t first_image = task // job.bands * LANES, band = task % job.bands
    cdef Py_ssize_t images = min(<Py_ssize_t>LANES, g.images - first_image)
    cdef Py_ssize_t first_tiles = band * job.tiles_down // job.bands
    cdef Py_ssize_t last_tiles = (band + 1) * job.tiles_down // job.bands
    cdef Py_ssize_t image = g.height * g.width * g.channels, row = g.width * g.channels
    cdef Py_ssize_t out_image = g.out_height * g.out_width * g.filters
    cdef Py_ssize_t first_row = max(first_tiles * job.outputs - g.pad_top, <Py_ssize_t>0)
    cdef Py_ssize_t last_row = min((last_tiles - 1) * job.outputs - g.pad_top + POINTS, g.height)
    cdef Py_ssize_t down, tile, top, rows, count, i, at
    for i in range(g.filters):
        v_store(space.spare + i * LANES, v_set(job.bias[i] if job.bias != NULL else 0))
    if last_row > first_row:
        into_lanes(space.band, job.x + first_image * image + first_row * row, image,
                   (last_row - first_row) * row, images)
    for down in range(first_tiles, last_tiles):
        top = down * job.outputs - g.pad_top - first_row
        rows = min(job.outputs, g.out_height - down * job.outputs)
        tile = 0
        while tile < job.tiles_across:
            if job.taps == 3:
                tiles_forward(3, job, &space, tile, min(tile + job.block, job.tiles_across), top,
                              last_row - first_row, rows)
            else:
                tiles_forward(5, job, &space, tile, min(tile + job.block, job.tiles_across), top,
                              last_row - first_row, rows)
            tile += job.block
        at = first_image * out_image + down * job.outputs * g.out_width * g.filters
        count = rows * g.out_width * g.filters
        out_of_lanes(job.y + at, space.row, out_image, count, images)
        if g.activation:
            for i in range(images):
                activation_forward_row(g.activation, job.y + at + i * out_image,
                                       job.y + at + i * out_image, count, job.slope)


cdef void conv2d_winograd_images_forward(
    real* y,               # (images, out_height, out_width, filters)
    const real* x,         # (images, height, width, channels)
    const real* prepared,  # by conv2d_winograd_images_weight
    const real* bias,      # (filters,) or NULL
    const Convolution* g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """y = f(conv(x, weight) + bias)"""
    cdef Job job = job_of(g)
    job.y, job.x, job.prepared, job.bias, job.output, job.slope = y, x, prepared, bias, NULL, slope
    job.bands = ceiling(job.tiles_down, (job.band_rows - POINTS) // job.outputs + 1)
    if job.groups * job.bands % threads != 0 and job.groups * job.bands < 4 * threads:
        job.bands = min(job.bands * threads, job.tiles_down)
    run_tasks(forward_task, &job, job.groups * job.bands, workspace, workspace_per_thread, threads)


# ---- backward to the input ----------------------------------------------------------------------

cdef inline void input_gradient_transform(
    vreal* x, const int step, vreal v0, vreal v1, vreal v2, vreal v3, vreal v4, vreal v5,
) noexcept nogil:
    """x (6) = B v, the transpose of input_transform"""
    cdef vreal even1 = v1 + v2
    cdef vreal odd1 = v1 - v2
    cdef vreal even2 = v3 + v4
    cdef vreal odd2 = v3 - v4
    x[0] = 4 * v0
    x[step] = 4 * (v5 - odd1) - 2 * odd2
    x[2 * step] = -(5 * v0 + 4 * even1 + even2)
    x[3 * step] = odd1 + 2 * odd2 - 5 * v5
    x[4 * step] = v0 + even1 + even2
    x[5 * step] = v5


cdef inline void input_gradient_vector(
    real** pixels, const Py_ssize_t channel, const real* e, const Py_ssize_t plane,
) noexcept nogil:
    """pixels (6, 6) of dx += B e (36 planes) B^T"""
    cdef vreal columns[36]
    cdef vreal outputs[6]
    cdef real* to
    cdef int i, j
    for j in range(POINTS):
        input_gradient_transform(
            columns + j, POINTS, v_load(e + j * plane), v_load(e + (6 + j) * plane),
            v_load(e + (12 + j) * plane), v_load(e + (18 + j) * plane),
            v_load(e + (24 + j) * plane), v_load(e + (30 + j) * plane))
    for i in range(POINTS):
        input_gradient_transform(outputs, 1, columns[6 * i], columns[6 * i + 1], columns[6 * i + 2],
                                 columns[6 * i + 3], columns[6 * i + 4], columns[6 * i + 5])
        for j in range(POINTS):
            to = pixels[i * POINTS + j] + channel
            v_store(to, v_load(to) + outputs[j])


cdef inline void tiles_backward(
    const int taps, const Job* job, const Space* space, const Py_ssize_t first, const Py_ssize_t last,
    const Py_ssize_t top, const Py_ssize_t band_rows, const Py_ssize_t rows,
) noexcept nogil:
    """Some tiles of a row: from the row of pixels of dy into the band."""
    cdef const Convolution* g = &job.g
    cdef Py_ssize_t tile, channel, row, column
    cdef Py_ssize_t channels = g.channels * LANES, filters = g.filters * LANES
    cdef real* pixels[36]
    cdef int i
    for tile in range(first, last):
        output_gradient_tile(taps, space.m + (tile - first) * filters, space.plane_m, UNIT,
                             space.row, 0, tile * job.outputs, rows, g.out_width, filters, space.zeros)
    products(job, space, last - first, True)
    for tile in range(first, last):
        for i in range(PRODUCTS):
            row, column = top + i // POINTS, tile * job.outputs - g.pad_left + i % POINTS
            # The same code for all tiles: in two variants the compiler might round differently.
            pixels[i] = space.spare
            if 0 <= row < band_rows and 0 <= column < g.width:
                pixels[i] = space.band + (row * g.width + column) * channels
        channel = 0
        while channel < channels:
            input_gradient_vector(pixels, channel, space.v + (tile - first) * channels + channel,
                                  space.plane_v)
            channel += LANES


cdef void backward_task(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """A band of rows of dx of a group of images."""
    cdef const Job* job = <const Job*>context
    cdef const Convolution* g = &job.g
    cdef Space space = space_of(job, workspace)
    cdef Py_ssize_t first_image = task // job.bands * LANES, band = task % job.bands
    cdef Py_ssize_t images = min(<Py_ssize_t>LANES, g.images - first_image)
    cdef Py_ssize_t first_row = band * g.height // job.bands
    cdef Py_ssize_t last_row = (band + 1) * g.height // job.bands
    cdef Py_ssize_t image = g.height * g.width * g.channels, row = g.width * g.channels
    cdef Py_ssize_t out_image = g.out_height * g.out_width * g.filters
    # The first row of tiles that reaches so far down, and the one behind the last that begins before.
    cdef Py_ssize_t first_tiles = ceiling(
        max(first_row + g.pad_top - POINTS + 1, <Py_ssize_t>0), job.outputs)
    cdef Py_ssize_t last_tiles = min(ceiling(last_row + g.pad_top, job.outputs), job.tiles_down)
    cdef Py_ssize_t down, tile, top, rows, i, at, count = (last_row - first_row) * row
    memset(space.band, 0, count * LANES * sizeof(real))
    for down in range(first_tiles, last_tiles):
        top = down * job.outputs - g.pad_top - first_row
        rows = min(job.outputs, g.out_height - down * job.outputs)
        into_lanes(space.row, job.x + first_image * out_image
                   + down * job.outputs * g.out_width * g.filters, out_image,
                   rows * g.out_width * g.filters, images)
        tile = 0
        while tile < job.tiles_across:
            if job.taps == 3:
                tiles_backward(3, job, &space, tile, min(tile + job.block, job.tiles_across), top,
                               last_row - first_row, rows)
            else:
                tiles_backward(5, job, &space, tile, min(tile + job.block, job.tiles_across), top,
                               last_row - first_row, rows)
            tile += job.block
    at = first_image * image + first_row * row
    out_of_lanes(job.y + at, space.band, image, count, images)
    if job.output != NULL:
        for i in range(images):
            activation_backward_row(g.activation, job.y + at + i * image, job.y + at + i * image,
                                    job.output + at + i * image, count, job.slope)


cdef void conv2d_winograd_images_backward_input(
    real* dx,              # (images, height, width, channels)
    const real* dy,        # (images, out_height, out_width, filters)
    const real* prepared,  # by conv2d_winograd_images_weight
    const real* x,         # as dx, or NULL: the output of the activation before
    const Convolution* g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = the gradient of conv to its input, times the derivative of the activation that made x"""
    cdef Job job = job_of(g)
    job.y, job.x, job.prepared, job.bias, job.output, job.slope = dx, dy, prepared, NULL, x, slope
    job.bands = ceiling(g.height, job.band_rows)
    if job.groups * job.bands < threads:
        # Not more: tiles over a border are computed twice.
        job.bands = min(ceiling(threads, job.groups), ceiling(g.height, POINTS))
    run_tasks(backward_task, &job, job.groups * job.bands, workspace, workspace_per_thread, threads)


cdef void run_conv2d_winograd_images_weight(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_images_weight(<real*>s.data[0], <real*>s.data[1], &g, s.threads)


cdef void run_conv2d_winograd_images_forward(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_images_forward(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &g,
        <real>s.scalar[0], s.workspace, s.workspace_per_thread, s.threads)


cdef void run_conv2d_winograd_images_backward_input(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_images_backward_input(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &g,
        <real>s.scalar[0], s.workspace, s.workspace_per_thread, s.threads)


CONSTANTS = {"BAND_ELEMENTS": BAND_ELEMENTS}
KERNELS = {
    "conv2d_winograd_images_weight": publish(run_conv2d_winograd_images_weight),
    "conv2d_winograd_images_forward": publish(run_conv2d_winograd_images_forward),
    "conv2d_winograd_images_backward_input": publish(run_conv2d_winograd_images_backward_input),
}
