"""Winograd's F(4 x 4, 3 x 3) where tiles are few: weights are transformed where they are used.

    x ──B^T x B──▶ V of GROUP tiles, one row of points:  (channels, 6 points, GROUP tiles)
                                                              │ broadcast
    weights of LANES filters ──row i of G g G^T──▶ 6 vectors ─┴─▶ 6 x GROUP sums ──A^T M A──▶ y
                                (registers)                        (registers)

A convolution of many channels on few tiles (one image, in the deep layers) reads each weight for a
handful of products, and is as fast as weights come from memory. U is four times the weights: kept
in memory, as conv_winograd.pyx does, it is what all wait for. Here the weights themselves are read,
once, in one stream, and U never leaves the registers: six rows of six points take turns over the
weights of CHANNELS channels, which stay in the first-level cache.

Threads take vectors of filters. The order of each sum is that of the channels.
"""

from libc.string cimport memset

from fastnn._core.kernels.activation_rows cimport activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, ceiling, convolution_of
from fastnn._core.kernels.winograd_tiles cimport PLANE, UNIT_PLANES, channel_at, output_vector
from fastnn._core.kernels.winograd_tiling cimport (
    Place,
    Tiling,
    place_of,
    tile_at,
    tiles_in,
    tiling_of,
    weight_at,
)
from fastnn._core.kernels.winograd_transforms cimport POINTS, PRODUCTS
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    real,
    v_load,
    v_load_first,
    v_prefetch_to_second_cache,
    v_set,
    v_store,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    TAPS = 9
    # Of a group of tiles: its sums take 24 of 32 registers, or 12 of 16.
    GROUP = TILE_ROWS - 4
    # Whose weights and V, 18 KB each, stay in the first-level cache.
    CHANNELS = 32

cdef struct Job:
    Tiling t
    real* y
    const real* x
    const real* weights
    const real* bias
    int activation
    real slope
    const real* zeros
    real* v                    # 36 planes of all tiles
    real* packed               # the same as it is read: (groups, 6, channels, 6, GROUP)
    Py_ssize_t groups


# ---- weights ------------------------------------------------------------------------------------

cdef struct Weights:
    Tiling t
    real* prepared
    const real* weight


cdef void arrange_vector(const void* context, Py_ssize_t vector, char* workspace) noexcept nogil:
    cdef const Weights* w = <const Weights*>context
    cdef const Tiling* t = &w.t
    cdef Py_ssize_t channel, lanes = min(LANES, t.filters - vector * LANES)
    cdef real* prepared = w.prepared + vector * t.channels * TAPS * LANES
    cdef int tap
    for channel in range(t.channels):
        for tap in range(TAPS):
            v_store(prepared + (channel * TAPS + tap) * LANES,
                    v_load_first(w.weight + weight_at(t, channel, tap) + vector * LANES, lanes))


cdef void conv2d_winograd_few_weight(
    real* prepared,      # (vectors of filters, channels, 9, LANES), zeros beyond `filters`
    const real* weight,  # (3, 3, channels, filters)
    const Convolution* g, int threads,
) noexcept nogil:
    """The weights in the order in which they are read"""
    cdef Weights w = Weights(tiling_of(g, False), prepared, weight)
    run_tasks(arrange_vector, &w, ceiling(w.t.filters, LANES), NULL, 0, threads)


cdef inline vreal at_point(const int point, vreal g0, vreal g1, vreal g2) noexcept nogil:
    """The polynomial g0 + g1 p + g2 p^2 at one of the points 0, 1, -1, 2, -2 and infinity."""
    if point == 0:
        return g0
    if point == 1:
        return g0 + g2 + g1
    if point == 2:
        return g0 + g2 - g1
    if point == 3:
        return g0 + 4 * g2 + 2 * g1
    if point == 4:
        return g0 + 4 * g2 - 2 * g1
    return g2


cdef inline real scale(const int point) noexcept nogil:
    """What a row of G is beyond the polynomial's values: V is multiplied by it instead."""
    if point == 0:
        return <real>0.25
    if point < 3:
        return <real>(-1.0 / 6)
    if point < 5:
        return <real>(1.0 / 24)
    return 1


# ---- forward ------------------------------------------------------------------------------------

cdef void tile_in(const void* context, Py_ssize_t tile, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    tiles_in(&job.t, job.v + tile_at(tile, job.t.units_in), job.t.units_in, job.x, tile, tile + 1,
             job.zeros)


cdef void arrange_tiles(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """packed (channels, 6, GROUP), of a group and a row of points, = v, scaled"""
    cdef const Job* job = <const Job*>context
    cdef const Tiling* t = &job.t
    cdef Py_ssize_t group = task // POINTS
    cdef Py_ssize_t channel, tile, tiles = min(<Py_ssize_t>GROUP, t.tiles - group * GROUP)
    cdef int row = task % POINTS, column
    cdef real* packed = job.packed + task * t.channels * POINTS * GROUP
    cdef const real* source
    cdef real factor
    for column in range(POINTS):
        factor = scale(row) * scale(column)
        for tile in range(tiles):
            source = job.v + (row * POINTS + column) * PLANE + tile_at(group * GROUP + tile, t.units_in)
            for channel in range(t.channels):
                packed[(channel * POINTS + column) * GROUP + tile] = (
                    factor * source[channel_at(channel, UNIT_PLANES)])
        for tile in range(tiles, GROUP):
            for channel in range(t.channels):
                packed[(channel * POINTS + column) * GROUP + tile] = 0


cdef inline void row_of_points(
    const int row, real* m, const real* v, const real* weights, const Py_ssize_t channels,
    const bint accumulate,
) noexcept nogil:
    """m (6, GROUP, LANES) = v (channels, 6, GROUP) by a row of U, plus m itself if `accumulate`"""
    cdef vreal sums[6][4]
    cdef vreal along[3]
    cdef vreal u[6]
    cdef Py_ssize_t channel
    cdef int i, j
    for i in range(POINTS):
        for j in range(GROUP):
            sums[i][j] = v_load(m + (i * GROUP + j) * LANES) if accumulate else v_set(0)
    for channel in range(channels):  # no-cython-lint
        for j in range(3):
            along[j] = at_point(row, v_load(weights + j * LANES), v_load(weights + (3 + j) * LANES),
                                v_load(weights + (6 + j) * LANES))
        # A part of what comes after these weights, to which the next rows add theirs.
        v_prefetch_to_second_cache(weights + (CHANNELS * TAPS + row) * LANES)
        if row < 3:
            v_prefetch_to_second_cache(weights + (CHANNELS * TAPS + POINTS + row) * LANES)
        for i in range(POINTS):
            u[i] = at_point(i, along[0], along[1], along[2])
            for j in range(GROUP):
                sums[i][j] += v[i * GROUP + j] * u[i]
        weights += TAPS * LANES
        v += POINTS * GROUP
    for i in range(POINTS):
        for j in range(GROUP):
            v_store(m + (i * GROUP + j) * LANES, sums[i][j])


cdef void products(
    real* m, const real* v, Py_ssize_t v_row, const real* weights, Py_ssize_t channels,
    bint accumulate,
) noexcept nogil:
    """m (6, 6, GROUP, LANES): all points of a group of tiles"""
    row_of_points(0, m, v, weights, channels, accumulate)
    row_of_points(1, m + 6 * GROUP * LANES, v + v_row, weights, channels, accumulate)
    row_of_points(2, m + 12 * GROUP * LANES, v + 2 * v_row, weights, channels, accumulate)
    row_of_points(3, m + 18 * GROUP * LANES, v + 3 * v_row, weights, channels, accumulate)
    row_of_points(4, m + 24 * GROUP * LANES, v + 4 * v_row, weights, channels, accumulate)
    row_of_points(5, m + 30 * GROUP * LANES, v + 5 * v_row, weights, channels, accumulate)


cdef void tile_out(
    const Job* job, const real* m, Py_ssize_t tile, Py_ssize_t first, Py_ssize_t lanes,
) noexcept nogil:
    """y = f(A^T m A + bias): LANES filters of a tile, m (36, GROUP, LANES)"""
    cdef const Tiling* t = &job.t
    cdef Place place = place_of(t, tile)
    cdef Py_ssize_t top = place.row * t.outputs, left = place.column * t.outputs
    cdef Py_ssize_t rows = min(t.outputs, t.out_height - top)
    cdef Py_ssize_t columns = min(t.outputs, t.out_width - left)
    cdef Py_ssize_t row, column
    cdef real* y = job.y + ((place.image * t.out_height + top) * t.out_width + left) * t.filters + first
    cdef vreal bias = v_set(0)
    if job.bias != NULL:
        bias = v_load_first(job.bias + first, lanes)
    output_vector(3, False, y, t.out_width * t.filters, t.filters, m, GROUP * LANES, bias,
                  rows, columns, lanes)
    if job.activation == 0:
        return
    for row in range(rows):  # no-cython-lint
        for column in range(columns):
            activation_forward_row(job.activation, y + column * t.filters, y + column * t.filters,
                                   lanes, job.slope)
        y += t.out_width * t.filters


cdef void convolve_vector(const void* context, Py_ssize_t vector, char* workspace) noexcept nogil:
    """All tiles of LANES filters."""
    cdef const Job* job = <const Job*>context
    cdef const Tiling* t = &job.t
    cdef real* m = <real*>workspace
    cdef const real* weights = job.weights + vector * t.channels * TAPS * LANES
    cdef Py_ssize_t v_row = t.channels * POINTS * GROUP, group, tile
    cdef Py_ssize_t block, blocks = ceiling(t.channels, CHANNELS), channel, channel_end
    for block in range(blocks):
        channel = block * t.channels // blocks
        channel_end = (block + 1) * t.channels // blocks
        for group in range(job.groups):
            products(m + group * PRODUCTS * GROUP * LANES,
                     job.packed + group * POINTS * v_row + channel * POINTS * GROUP, v_row,
                     weights + channel * TAPS * LANES, channel_end - channel, block > 0)
    for tile in range(t.tiles):
        group = tile // GROUP
        tile_out(job, m + (group * PRODUCTS * GROUP + tile - group * GROUP) * LANES, tile,
                 vector * LANES, min(<Py_ssize_t>LANES, t.filters - vector * LANES))


cdef void conv2d_winograd_few_forward(
    real* y,               # (images, out_height, out_width, filters)
    const real* x,         # (images, height, width, channels)
    const real* prepared,  # by conv2d_winograd_few_weight
    const real* bias,      # (filters,) or NULL
    const Convolution* g, real slope,
    char* workspace, Py_ssize_t workspace_per_thread, real* shared, int threads,
) noexcept nogil:
    """y = f(conv(x, weight) + bias)"""
    cdef Job job
    cdef Tiling* t = &job.t
    job.t = tiling_of(g, False)
    job.y, job.x, job.weights, job.bias = y, x, prepared, bias
    job.activation, job.slope = g.activation, slope
    job.groups = ceiling(t.tiles, GROUP)
    job.zeros = shared
    job.packed = shared + POINTS * t.wide_channels
    job.v = job.packed + PRODUCTS * job.groups * GROUP * t.wide_channels
    memset(shared, 0, POINTS * t.wide_channels * sizeof(real))
    run_tasks(tile_in, &job, t.tiles, NULL, 0, threads)
    run_tasks(arrange_tiles, &job, job.groups * POINTS, NULL, 0, threads)
    run_tasks(convolve_vector, &job, ceiling(t.filters, LANES), workspace, workspace_per_thread, threads)


cdef void run_conv2d_winograd_few_weight(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_few_weight(<real*>s.data[0], <real*>s.data[1], &g, s.threads)


cdef void run_conv2d_winograd_few_forward(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_few_forward(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &g,
        <real>s.scalar[0], s.workspace, s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


KERNELS = {
    "conv2d_winograd_few_weight": publish(run_conv2d_winograd_few_weight),
    "conv2d_winograd_few_forward": publish(run_conv2d_winograd_few_forward),
}
