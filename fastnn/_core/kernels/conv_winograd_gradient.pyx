"""The gradient of the weights of Winograd's convolution (conv_winograd.pyx has the other two).

    x ──B^T x B──▶ V (36, tiles, channels) ─┐
                                            ├─36 products V^T D─▶ (36, channels, filters) ──G^T . G──▶ dweight
    dy ──A dy A^T──▶ D (36, tiles, filters) ┘

The depth of the products is the tiles. They are summed in chunks of the tiles, each by a thread of
its own, so that no core reads planes that another has written, and the chunks are added in order.
The number of chunks depends on sizes alone; where the sums are large there are few, and with more
threads than chunks the team shares a chunk.

The sum of dy over a tile, for dbias, is already in D: its plane of the point (1, 1).
"""

from libc.string cimport memset

from fastnn._core.kernels.convolution cimport Convolution, ceiling, convolution_of
from fastnn._core.kernels.matmul cimport panel_bounds
from fastnn._core.kernels.space_to_depth cimport blocks_of_images
from fastnn._core.kernels.winograd_products cimport gradient_product
from fastnn._core.kernels.winograd_tiles cimport (
    GROUP_TILES,
    PLANE,
    UNIT,
    UNIT_PLANES,
    channel_at,
    output_gradient_tile,
    weight_gradient_vector,
)
from fastnn._core.kernels.winograd_tiling cimport (
    BLOCK_BYTES,
    GRADIENT_BLOCK_BYTES,
    Place,
    Tiling,
    block_start,
    place_of,
    tile_at,
    tiles_in,
    tiling_of,
    to_next,
    weight_at,
    whole_units,
)
from fastnn._core.kernels.winograd_transforms cimport POINTS, PRODUCTS
from fastnn._core.simd cimport LANES, real, v_load, v_set, v_store, v_store_first, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    SUMS_BYTES = 25165824      # of all chunks: they should stay in the third-level cache
    MOST_CHUNKS = 8
    PLANES_TO_SUMS = 4         # elements of a chunk's planes for each of its sums
    TASK_CHANNELS = 48         # of a panel's sums that a thread takes of a block of the team


cdef struct Gradient:
    # dweight = sum of V^T D
    Tiling t
    real* dweight
    real* dbias
    const real* x
    const real* dy
    real* sums                 # (chunks, 36, panels, channels, filters of a panel), dbias behind each
    Py_ssize_t chunks
    Py_ssize_t chunk_size      # elements of the sums of a chunk


cdef struct GradientPlanes:
    # 36 planes of V and of D for a block of tiles
    const real* zeros
    real* v
    Py_ssize_t v_group         # elements from a group of tiles to the next
    real* d
    Py_ssize_t d_group

cdef struct TeamBlock:
    # A block of tiles that the team shares
    const Gradient* s
    GradientPlanes planes
    Py_ssize_t chunk
    Py_ssize_t first           # tile
    Py_ssize_t tiles
    bint accumulate            # not the first block of its chunk


cdef GradientPlanes gradient_planes(const Tiling* t, real* workspace) noexcept nogil:
    """Pixels of zeros, V and D of a block in a workspace."""
    cdef GradientPlanes planes
    cdef Py_ssize_t wide = max(t.wide_channels, t.wide_filters)
    planes.v_group, planes.d_group = t.units_in * UNIT_PLANES, t.units_out * UNIT_PLANES
    planes.zeros = workspace
    planes.v = workspace + POINTS * wide
    planes.d = planes.v + t.gradient_groups * planes.v_group
    memset(workspace, 0, POINTS * wide * sizeof(real))
    return planes


cdef void gradient_tiles_in(
    const Tiling* t, real* d, const real* dy, Py_ssize_t first, Py_ssize_t last, const real* zeros,
) noexcept nogil:
    """d (36 planes of last - first tiles) = A dy A^T"""
    cdef Place place = place_of(t, first)
    cdef Py_ssize_t tile
    cdef const real* gradient
    for tile in range(last - first):
        gradient = dy + place.image * t.out_height * t.out_width * t.filters
        if t.taps == 3:
            output_gradient_tile(3, d + tile_at(tile, t.units_out), PLANE, UNIT_PLANES, gradient,
                                 place.row * t.outputs, place.column * t.outputs, t.out_height,
                                 t.out_width, t.filters, zeros)
        else:
            output_gradient_tile(5, d + tile_at(tile, t.units_out), PLANE, UNIT_PLANES, gradient,
                                 place.row * t.outputs, place.column * t.outputs, t.out_height,
                                 t.out_width, t.filters, zeros)
        to_next(t, &place)


cdef void panel_of_sums(
    const Tiling* t, real* sums, Py_ssize_t panel, Py_ssize_t first_channel, Py_ssize_t channels,
    const GradientPlanes* planes, Py_ssize_t point, Py_ssize_t tiles, bint accumulate,
) noexcept nogil:
    """Some channels of a panel of sums (channels, filters) (+)= v^T (.., tiles) @ d (tiles, filters)"""
    cdef Py_ssize_t first, vectors, last_lanes
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    gradient_product(sums, first, vectors,
                     planes.v + channel_at(first_channel, UNIT_PLANES) + point * PLANE, planes.v_group,
                     planes.d + point * PLANE, planes.d_group, tiles, channels, accumulate)


cdef void bias_sums(
    const Tiling* t, real* dbias, const GradientPlanes* planes, Py_ssize_t tiles, bint accumulate,
) noexcept nogil:
    """dbias (wide_filters) (+)= the sum over the tiles of d of the point (1, 1)"""
    cdef const real* d
    cdef Py_ssize_t first = 0, tile
    cdef vreal total
    while first < t.filters:
        total = v_set(0)
        if accumulate:
            total = v_load(dbias + first)
        d = planes.d + (POINTS + 1) * PLANE + channel_at(first, UNIT_PLANES)
        for tile in range(tiles):
            total += v_load(d + tile_at(tile, t.units_out))
        v_store(dbias + first, total)
        first += LANES


cdef void gradient_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    """The sums of a chunk of the tiles, block by block, by one thread."""
    cdef const Gradient* s = <const Gradient*>context
    cdef const Tiling* t = &s.t
    cdef GradientPlanes planes = gradient_planes(t, <real*>workspace)
    cdef real* sums = s.sums + chunk * s.chunk_size
    cdef Py_ssize_t begin = block_start(chunk, s.chunks, t.tiles)
    cdef Py_ssize_t tiles = block_start(chunk + 1, s.chunks, t.tiles) - begin
    cdef Py_ssize_t blocks = gradient_blocks(t, tiles)
    cdef Py_ssize_t block, first, last, point, panel
    for block in range(blocks):
        first = begin + block_start(block, blocks, tiles)
        last = begin + block_start(block + 1, blocks, tiles)
        tiles_in(t, planes.v, t.units_in, s.x, first, last, planes.zeros)
        gradient_tiles_in(t, planes.d, s.dy, first, last, planes.zeros)
        for point in range(PRODUCTS):
            for panel in range(t.panels):
                panel_of_sums(t, sums + point * t.weight_plane + panel_start(t, panel), panel,
                              0, t.channels, &planes, point, last - first, block > 0)
        bias_sums(t, sums + PRODUCTS * t.weight_plane, &planes, last - first, block > 0)


cdef inline Py_ssize_t gradient_blocks(const Tiling* t, const Py_ssize_t tiles) noexcept nogil:
    return max(1, ceiling(tiles, t.gradient_groups * GROUP_TILES))


cdef void team_tile_in(const void* context, Py_ssize_t tile, char* workspace) noexcept nogil:
    cdef const TeamBlock* b = <const TeamBlock*>context
    cdef const Tiling* t = &b.s.t
    tiles_in(t, b.planes.v + tile_at(tile, t.units_in), t.units_in, b.s.x, b.first + tile,
             b.first + tile + 1, b.planes.zeros)
    gradient_tiles_in(t, b.planes.d + tile_at(tile, t.units_out), b.s.dy, b.first + tile,
                      b.first + tile + 1, b.planes.zeros)


cdef void gradient_chunk_by_team(
    const Gradient* s, Py_ssize_t chunk, real* planes_workspace,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """The same, each block shared by the team.

    The only block of an only chunk needs no sums beyond a task: they stay in the thread's cache.
    """
    cdef const Tiling* t = &s.t
    cdef TeamBlock b
    cdef real* dbias = s.sums + chunk * s.chunk_size + PRODUCTS * t.weight_plane
    cdef Py_ssize_t begin = block_start(chunk, s.chunks, t.tiles)
    cdef Py_ssize_t tiles = block_start(chunk + 1, s.chunks, t.tiles) - begin
    cdef Py_ssize_t blocks = gradient_blocks(t, tiles)
    cdef Py_ssize_t pieces = ceiling(t.channels, TASK_CHANNELS)
    cdef Py_ssize_t block
    b.s, b.planes, b.chunk = s, gradient_planes(t, planes_workspace), chunk
    for block in range(blocks):
        b.first = begin + block_start(block, blocks, tiles)
        b.tiles = begin + block_start(block + 1, blocks, tiles) - b.first
        b.accumulate = block > 0
        run_tasks(team_tile_in, &b, b.tiles, NULL, 0, threads)
        run_tasks(team_sums, &b, pieces * t.panels, workspace, workspace_per_thread, threads)
        bias_sums(t, dbias, &b.planes, b.tiles, b.accumulate)


cdef inline Py_ssize_t chunks_of(const Gradient* s) noexcept nogil:
    """Few enough that reading all sums takes little beside the planes; two if tiles allow, not one."""
    cdef const Tiling* t = &s.t
    cdef Py_ssize_t of_tiles = t.tiles * (t.channels + t.filters)
    cdef Py_ssize_t of_sums = PLANES_TO_SUMS * t.channels * t.filters
    cdef Py_ssize_t most = min(SUMS_BYTES // (s.chunk_size * <Py_ssize_t>sizeof(real)), MOST_CHUNKS)
    return max(1, min(most, t.tiles // GROUP_TILES, max(2, of_tiles // of_sums)))


cdef inline bint only_block(const Gradient* s) noexcept nogil:
    return s.chunks == 1 and s.t.tiles <= s.t.gradient_groups * GROUP_TILES


cdef void team_sums(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """TASK_CHANNELS of a panel, all points; where the thread has sums of its own, dweight of them."""
    cdef const TeamBlock* b = <const TeamBlock*>context
    cdef const Gradient* s = b.s
    cdef const Tiling* t = &s.t
    cdef Py_ssize_t panel = task % t.panels, first_channel = task // t.panels * TASK_CHANNELS
    cdef Py_ssize_t channels = min(TASK_CHANNELS, t.channels - first_channel)
    cdef Py_ssize_t first, vectors, last_lanes, point, channel, plane
    cdef real* sums = <real*>workspace
    cdef bint own_sums = only_block(s)
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    plane = TASK_CHANNELS * vectors * LANES + UNIT
    if not own_sums:
        plane = t.weight_plane
        sums = (s.sums + b.chunk * s.chunk_size + first * t.channels
                + first_channel * vectors * LANES)
    for point in range(PRODUCTS):
        panel_of_sums(t, sums + point * plane, panel, first_channel, channels, &b.planes, point,
                      b.tiles, b.accumulate)
    if own_sums:
        for channel in range(channels):
            gradient_out(s, sums + channel * vectors * LANES, plane, first_channel + channel, panel)


cdef inline Py_ssize_t panel_start(const Tiling* t, Py_ssize_t panel) noexcept nogil:
    """Where a panel of (channels, filters) begins."""
    cdef Py_ssize_t first, vectors, last_lanes
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    return first * t.channels


cdef inline void sums_out(
    const int taps, const Gradient* s, const real* sums, const Py_ssize_t plane,
    const Py_ssize_t channel, const Py_ssize_t panel,
) noexcept nogil:
    """dweight of one channel and a panel = G^T (its sums, added over the chunks) G"""
    cdef const Tiling* t = &s.t
    cdef vreal u[36]
    cdef Py_ssize_t first, vectors, last_lanes, j, lanes, chunk, row
    cdef const real* at
    cdef real* rows[25]
    cdef int point
    for point in range(taps * taps):
        row = weight_at(t, channel, point)
        rows[point] = NULL if row < 0 else s.dweight + row
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    for j in range(vectors):
        lanes = last_lanes if j == vectors - 1 else LANES
        at = sums + j * LANES
        for point in range(PRODUCTS):
            u[point] = v_load(at + point * plane)
        for chunk in range(1, s.chunks):  # no-cython-lint
            at += s.chunk_size
            for point in range(PRODUCTS):
                u[point] += v_load(at + point * plane)
        weight_gradient_vector(taps, rows, first + j * LANES, u, lanes)


cdef void gradient_out(
    const Gradient* s, const real* sums, Py_ssize_t plane, Py_ssize_t channel, Py_ssize_t panel,
) noexcept nogil:
    if s.t.taps == 3:
        sums_out(3, s, sums, plane, channel, panel)
    else:
        sums_out(5, s, sums, plane, channel, panel)


cdef void chunks_out(const void* context, Py_ssize_t channel, char* workspace) noexcept nogil:
    """dweight of one channel from the chunks' sums."""
    cdef const Gradient* s = <const Gradient*>context
    cdef const Tiling* t = &s.t
    cdef Py_ssize_t first, vectors, last_lanes, panel
    for panel in range(t.panels):
        panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
        gradient_out(s, s.sums + first * t.channels + channel * vectors * LANES, t.weight_plane,
                     channel, panel)


cdef void bias_out(const Gradient* s) noexcept nogil:
    cdef const real* at
    cdef vreal total
    cdef Py_ssize_t first = 0, chunk, lanes
    while first < s.t.filters:
        lanes = min(LANES, s.t.filters - first)
        at = s.sums + PRODUCTS * s.t.weight_plane + first
        total = v_load(at)
        for chunk in range(1, s.chunks):
            total += v_load(at + chunk * s.chunk_size)
        v_store_first(s.dbias + first, total, lanes)
        first += LANES


cdef void conv2d_winograd_backward_parameters(
    real* dweight,         # (taps, taps, channels, filters)
    real* dbias,           # (filters,) or NULL
    const real* x,         # (images, height, width, channels)
    const real* dy,        # (images, out_height, out_width, filters)
    const Convolution* g,
    char* workspace, Py_ssize_t workspace_per_thread, real* shared, int threads,
) noexcept nogil:
    """dweight = the sum over tiles of G^T ((B^T x B) (A dy A^T)) G, dbias = the sum of dy"""
    cdef Gradient s
    cdef Tiling* t = &s.t
    cdef Py_ssize_t chunk
    t[0] = tiling_of(g, False)
    s.dweight, s.dbias, s.x, s.dy = dweight, dbias, x, dy
    if t.stride > 1:
        blocks_of_images(t, g, shared, x, threads)
        s.x = shared
        shared += whole_units(g.images * t.height * t.width * t.channels)
    s.sums = shared
    s.chunk_size = PRODUCTS * t.weight_plane + t.wide_filters
    s.chunks = chunks_of(&s)
    if threads > s.chunks or (only_block(&s) and s.chunk_size * <Py_ssize_t>sizeof(real) > BLOCK_BYTES):
        for chunk in range(s.chunks):
            gradient_chunk_by_team(&s, chunk, shared + s.chunks * s.chunk_size,
                                   workspace, workspace_per_thread, threads)
        if only_block(&s):
            if dbias != NULL:
                bias_out(&s)
            return
    else:
        run_tasks(gradient_chunk, &s, s.chunks, workspace, workspace_per_thread, threads)
    run_tasks(chunks_out, &s, t.channels, workspace, workspace_per_thread, threads)
    if dbias != NULL:
        bias_out(&s)


cdef void run_conv2d_winograd_backward_parameters(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_backward_parameters(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &g,
        s.workspace, s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


CONSTANTS = {
    "GRADIENT_BLOCK_BYTES": GRADIENT_BLOCK_BYTES,
    "SUMS_BYTES": SUMS_BYTES,
    "MOST_CHUNKS": MOST_CHUNKS,
    "TASK_CHANNELS": TASK_CHANNELS,
}
KERNELS = {
    # The stride tells whether images are rearranged.
    "conv2d_space_to_depth_backward_parameters": publish(run_conv2d_winograd_backward_parameters),
    "conv2d_winograd_backward_parameters": publish(run_conv2d_winograd_backward_parameters),
}
