"""Winograd's convolution: 3 x 3 by F(4 x 4, 3 x 3) and 5 x 5 by F(2 x 2, 5 x 5), stride 1.

    x ──B^T x B──▶ V (36, tiles, channels) ──36 products──▶ M (36, tiles, filters) ──A^T M A──▶ y
                              weight ──G g G^T──▶ U (36, channels, filters) ──┘

A tile of 6 x 6 pixels gives 4 x 4 (or 2 x 2) of the output, so that neighbours overlap. Tiles are
worked on in blocks whose planes stay in the second-level cache between the three phases. M's plane
p is written over V's plane p - 1, which is spent by then: one set of planes, and one plane more.

Threads take blocks. Where there are too few, the team shares the tiles, then the 36 products.

The gradient of the input is the convolution of dy with flipped weights, channels and filters
swapped. The gradient of the weights is the sum over tiles of V^T D, D = A dy A^T: 36 products whose
depth is the tiles. They are summed in chunks of the tiles, each by a thread of its own, and the
chunks are added in order. The number of chunks depends on sizes alone; where the sums are large
there are few, and with more threads than chunks the team shares a chunk.

The sum of dy over a tile, for dbias, is already in D: its plane of the point (1, 1).
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memset

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, convolution_of
from fastnn._core.kernels.matmul cimport (
    panel_bounds,
    panel_count,
    panel_product,
    transpose_square,
)
from fastnn._core.kernels.winograd_tiles cimport (
    input_tile,
    output_gradient_tile,
    output_tile,
    weight_gradient_vector,
    weight_vector,
)
from fastnn._core.kernels.winograd_transforms cimport POINTS, PRODUCTS
from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_set, v_store, v_store_first, vreal
from fastnn._core.step cimport Step, publish


cdef enum:
    # Numbers that fastnn/_compiler/convolution/winograd.py has too.
    UNIT = 16                  # channels of a plane are rounded up to this, on every instruction set
    BLOCK_BYTES = 524288       # of a block's planes: half of a second-level cache
    BLOCK_TILES = 24           # a block is a multiple of this: whole register tiles (8 or 6 rows)
    MOST_BLOCK_TILES = 96
    TEAM_TILES = 96            # of a block that the team shares
    TEAM_WORTH_TILES = 24      # for each thread: with fewer, U is read too often for what it does
    # A block of the weights' gradient: sums are read and written once for its tiles, which pays
    # for planes that only the third-level cache holds.
    GRADIENT_BLOCK_BYTES = 8388608
    SUMS_BYTES = 25165824      # of all chunks: they should stay in the third-level cache
    MOST_CHUNKS = 8
    TASK_CHANNELS = 48         # of a panel's sums that a thread takes of a block of the team

cdef struct Tiling:
    # A convolution as tiles: `channels` in, `filters` out. Of dx: the other way round.
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t channels
    Py_ssize_t out_height
    Py_ssize_t out_width
    Py_ssize_t filters
    Py_ssize_t pad_top
    Py_ssize_t pad_left
    int taps
    Py_ssize_t outputs         # of a tile along an axis
    Py_ssize_t tiles_across
    Py_ssize_t tiles_of_image
    Py_ssize_t tiles
    Py_ssize_t wide_channels   # rounded up to UNIT
    Py_ssize_t wide_filters
    Py_ssize_t panels          # of filters
    Py_ssize_t block           # tiles, in the forward pass
    Py_ssize_t gradient_block  # tiles, in the weights' gradient
    Py_ssize_t weight_plane    # elements of a plane of U


cdef struct Forward:
    # y = f(conv(x, U) + bias), or dx = conv(dy, U) f'(output)
    Tiling t
    real* y
    const real* x
    const real* prepared
    const real* bias
    const real* output
    bint is_gradient
    int activation
    real slope


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
    Py_ssize_t plane_v
    real* d
    Py_ssize_t plane_d


cdef inline Py_ssize_t whole_units(Py_ssize_t channels) noexcept nogil:
    return (channels + UNIT - 1) // UNIT * UNIT


cdef inline Py_ssize_t block_tiles(Py_ssize_t bytes_of_block, Py_ssize_t bytes_of_tile) noexcept nogil:
    cdef Py_ssize_t tiles = bytes_of_block // bytes_of_tile // BLOCK_TILES * BLOCK_TILES
    return min(max(tiles, BLOCK_TILES), MOST_BLOCK_TILES)


cdef Tiling tiling_of(const Convolution* g, bint of_gradient) noexcept nogil:
    cdef Tiling t
    cdef Py_ssize_t bytes_of_tile
    t.taps = <int>g.kernel_height
    t.outputs = 7 - t.taps
    t.height, t.width, t.channels = g.height, g.width, g.channels
    t.out_height, t.out_width, t.filters = g.out_height, g.out_width, g.filters
    t.pad_top, t.pad_left = g.pad_top, g.pad_left
    if of_gradient:
        t.height, t.width, t.channels = g.out_height, g.out_width, g.filters
        t.out_height, t.out_width, t.filters = g.height, g.width, g.channels
        t.pad_top, t.pad_left = t.taps - 1 - g.pad_top, t.taps - 1 - g.pad_left
    t.tiles_across = (t.out_width + t.outputs - 1) // t.outputs
    t.tiles_of_image = (t.out_height + t.outputs - 1) // t.outputs * t.tiles_across
    t.tiles = g.images * t.tiles_of_image
    t.wide_channels = whole_units(t.channels)
    t.wide_filters = whole_units(t.filters)
    t.panels = panel_count(t.filters)
    t.weight_plane = t.channels * t.wide_filters + UNIT
    bytes_of_tile = PRODUCTS * sizeof(real) * max(t.wide_channels, t.wide_filters)
    t.block = block_tiles(BLOCK_BYTES, bytes_of_tile)
    bytes_of_tile = PRODUCTS * sizeof(real) * (t.wide_channels + t.wide_filters)
    t.gradient_block = block_tiles(GRADIENT_BLOCK_BYTES, bytes_of_tile)
    return t


# ---- weights ------------------------------------------------------------------------------------

cdef inline void weight_block(
    const int taps, const Tiling* t, real* u, const real* weight, const Py_ssize_t channel,
) noexcept nogil:
    """U of one channel, all filters; weight (taps * taps, channels, filters)."""
    cdef vreal g[25]
    cdef Py_ssize_t panel, first, vectors, last_lanes, j, lanes
    cdef int tap
    for panel in range(t.panels):
        panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
        for j in range(vectors):
            lanes = last_lanes if j == vectors - 1 else LANES
            for tap in range(taps * taps):
                g[tap] = v_load_first(weight + (tap * t.channels + channel) * t.filters
                                      + first + j * LANES, lanes)
            weight_vector(taps, g, u + first * t.channels + (channel * vectors + j) * LANES,
                          t.weight_plane)


cdef inline void flipped_weight_block(
    const int taps, const Tiling* t, real* u, const real* weight, const Py_ssize_t first_channel,
) noexcept nogil:
    """U of LANES channels, all filters, of weight (taps * taps, filters, channels) turned round."""
    cdef vreal g[25]
    cdef vreal square[16]
    cdef real turned[25 * 16 * 16]       # (taps * taps, LANES channels, LANES filters)
    cdef Py_ssize_t panel, first, vectors, last_lanes, j, lanes, i
    cdef Py_ssize_t channels = min(LANES, t.channels - first_channel)
    cdef int tap
    for panel in range(t.panels):
        panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
        for j in range(vectors):
            lanes = last_lanes if j == vectors - 1 else LANES
            for tap in range(taps * taps):
                for i in range(lanes):
                    square[i] = v_load_first(
                        weight + (tap * t.filters + first + j * LANES + i) * t.channels
                        + first_channel, channels)
                for i in range(lanes, LANES):
                    square[i] = v_set(0)
                transpose_square(square)
                for i in range(LANES):
                    v_store(turned + ((taps * taps - 1 - tap) * LANES + i) * LANES, square[i])
            for i in range(channels):
                for tap in range(taps * taps):
                    g[tap] = v_load(turned + (tap * LANES + i) * LANES)
                weight_vector(taps, g, u + first * t.channels
                              + ((first_channel + i) * vectors + j) * LANES, t.weight_plane)


cdef void weight_task(
    const Tiling* t, real* u, const real* weight, Py_ssize_t task, bint flipped,
) noexcept nogil:
    if flipped and t.taps == 3:
        flipped_weight_block(3, t, u, weight, task * LANES)
    elif flipped:
        flipped_weight_block(5, t, u, weight, task * LANES)
    elif t.taps == 3:
        weight_block(3, t, u, weight, task)
    else:
        weight_block(5, t, u, weight, task)


cdef void conv2d_winograd_weight(
    real* u,             # (36, panels, channels, filters of a panel), planes `weight_plane` apart
    const real* weight,  # (taps, taps, channels, filters); for_backward: of the forward convolution
    const Convolution* g, int threads,
) noexcept nogil:
    """u = G g G^T; for_backward: of the weights turned by 180 degrees, channels and filters swapped"""
    cdef Tiling t = tiling_of(g, g.for_backward)
    cdef Py_ssize_t tasks = t.channels, task
    if g.for_backward:
        tasks = (t.channels + LANES - 1) // LANES
    if threads == 1:
        for task in range(tasks):
            weight_task(&t, u, weight, task, g.for_backward)
        return
    for task in prange(tasks, schedule="static", num_threads=threads):
        weight_task(&t, u, weight, task, g.for_backward)


# ---- forward, and the gradient of the input -----------------------------------------------------

cdef void tiles_in(
    const Tiling* t, real* v, Py_ssize_t plane, const real* x,
    Py_ssize_t first, Py_ssize_t last, const real* zeros,
) noexcept nogil:
    """v (36 planes, last - first tiles, wide_channels) = B^T x B"""
    cdef Py_ssize_t tile, image, of_image
    for tile in range(first, last):
        image = tile // t.tiles_of_image
        of_image = tile - image * t.tiles_of_image
        input_tile(v + (tile - first) * t.wide_channels, plane,
                   x + image * t.height * t.width * t.channels,
                   of_image // t.tiles_across * t.outputs - t.pad_top,
                   of_image % t.tiles_across * t.outputs - t.pad_left,
                   t.height, t.width, t.channels, zeros)


cdef void product(
    const Tiling* t, real* m, const real* v, const real* prepared, Py_ssize_t tiles,
    Py_ssize_t point, Py_ssize_t panel,
) noexcept nogil:
    """A panel of m (tiles, wide_filters) = v (tiles, wide_channels) @ U[point]"""
    cdef Py_ssize_t first, vectors, last_lanes
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    panel_product(vectors, tiles, t.channels, v, t.wide_channels, 1,
                  prepared + point * t.weight_plane + first * t.channels, vectors * LANES,
                  m + first, t.wide_filters, NULL, False, LANES)


cdef void tiles_out(
    const Forward* f, const real* m, Py_ssize_t plane, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """y = A^T m A + bias, then the activation of each row of a tile while it is in the cache"""
    cdef const Tiling* t = &f.t
    cdef Py_ssize_t tile, image, of_image, top, left, rows, columns, at, row
    for tile in range(first, last):
        image = tile // t.tiles_of_image
        of_image = tile - image * t.tiles_of_image
        top = of_image // t.tiles_across * t.outputs
        left = of_image % t.tiles_across * t.outputs
        rows = min(t.outputs, t.out_height - top)
        columns = min(t.outputs, t.out_width - left)
        at = ((image * t.out_height + top) * t.out_width + left) * t.filters
        if t.taps == 3:
            output_tile(3, f.y + at, t.out_width * t.filters, t.filters,
                        m + (tile - first) * t.wide_filters, plane, f.bias, rows, columns)
        else:
            output_tile(5, f.y + at, t.out_width * t.filters, t.filters,
                        m + (tile - first) * t.wide_filters, plane, f.bias, rows, columns)
        if f.activation == 0:
            continue
        for row in range(rows):
            if f.is_gradient:
                activation_backward_row(f.activation, f.y + at, f.y + at, f.output + at,
                                        columns * t.filters, f.slope)
            else:
                activation_forward_row(f.activation, f.y + at, f.y + at, columns * t.filters,
                                       f.slope)
            at += t.out_width * t.filters


cdef inline Py_ssize_t block_start(Py_ssize_t block, Py_ssize_t blocks, Py_ssize_t tiles) noexcept nogil:
    """Blocks of nearly equal size, each a multiple of 8 tiles but for the last."""
    return min(tiles, block * ((tiles + 7) // 8) // blocks * 8)


cdef void forward_block(
    const Forward* f, Py_ssize_t block, Py_ssize_t blocks, real* workspace,
) noexcept nogil:
    """All three phases of a block of tiles, by one thread."""
    cdef const Tiling* t = &f.t
    cdef Py_ssize_t wide = max(t.wide_channels, t.wide_filters)
    # A line more than the tiles take, so that the planes of a tile lie in different sets of the cache.
    cdef Py_ssize_t plane = t.block * wide + UNIT
    cdef Py_ssize_t first = block_start(block, blocks, t.tiles)
    cdef Py_ssize_t last = block_start(block + 1, blocks, t.tiles)
    cdef real* zeros = workspace
    cdef real* m = workspace + wide
    cdef real* v = m + plane
    cdef Py_ssize_t point, panel
    memset(zeros, 0, wide * sizeof(real))
    tiles_in(t, v, plane, f.x, first, last, zeros)
    for point in range(PRODUCTS):
        for panel in range(t.panels):
            product(t, m + point * plane, v + point * plane, f.prepared, last - first, point, panel)
    tiles_out(f, m, plane, first, last)


cdef void forward_team_block(
    const Forward* f, Py_ssize_t first, Py_ssize_t last, real* workspace, int threads,
) noexcept nogil:
    """All three phases of a block of tiles, each shared by the team."""
    cdef const Tiling* t = &f.t
    cdef Py_ssize_t wide = max(t.wide_channels, t.wide_filters)
    cdef Py_ssize_t plane = TEAM_TILES * wide + UNIT
    cdef real* zeros = workspace
    cdef real* v = workspace + wide
    cdef real* m = v + PRODUCTS * plane
    cdef Py_ssize_t tile, task
    memset(zeros, 0, wide * sizeof(real))
    for tile in prange(first, last, schedule="static", num_threads=threads):
        tiles_in(t, v + (tile - first) * t.wide_channels, plane, f.x, tile, tile + 1, zeros)
    for task in prange(PRODUCTS * t.panels, schedule="static", num_threads=threads):
        product(t, m + task // t.panels * plane, v + task // t.panels * plane, f.prepared,
                last - first, task // t.panels, task % t.panels)
    for tile in prange(first, last, schedule="static", num_threads=threads):
        tiles_out(f, m + (tile - first) * t.wide_filters, plane, tile, tile + 1)


cdef void forward(
    Forward* f, char* workspace, Py_ssize_t workspace_per_thread, real* shared, int threads,
) noexcept nogil:
    cdef Tiling* t = &f.t
    cdef Py_ssize_t blocks = (t.tiles + t.block - 1) // t.block
    cdef Py_ssize_t block
    if threads == 1:
        for block in range(blocks):
            forward_block(f, block, blocks, <real*>workspace)
        return
    if t.tiles < TEAM_WORTH_TILES * threads:
        blocks = (t.tiles + TEAM_TILES - 1) // TEAM_TILES
        for block in range(blocks):
            forward_team_block(f, block_start(block, blocks, t.tiles),
                               block_start(block + 1, blocks, t.tiles), shared, threads)
        return
    blocks = (blocks + threads - 1) // threads * threads
    for block in prange(blocks, schedule="static", num_threads=threads):
        forward_block(f, block, blocks, <real*>(workspace + threadid() * workspace_per_thread))


cdef void conv2d_winograd_forward(
    real* y,               # (images, out_height, out_width, filters)
    const real* x,         # (images, height, width, channels)
    const real* prepared,  # by conv2d_winograd_weight
    const real* bias,      # (filters,) or NULL
    const Convolution* g, real slope,
    char* workspace, Py_ssize_t workspace_per_thread, real* shared, int threads,
) noexcept nogil:
    """y = f(conv(x, weight) + bias)"""
    cdef Forward f
    f.t = tiling_of(g, False)
    f.y, f.x, f.prepared, f.bias, f.output = y, x, prepared, bias, NULL
    f.is_gradient, f.activation, f.slope = False, g.activation, slope
    forward(&f, workspace, workspace_per_thread, shared, threads)


cdef void conv2d_winograd_backward_input(
    real* dx,              # (images, height, width, channels)
    const real* dy,        # (images, out_height, out_width, filters)
    const real* prepared,  # by conv2d_winograd_weight, for_backward
    const real* x,         # as dx, or NULL: the output of the activation before
    const Convolution* g, real slope,
    char* workspace, Py_ssize_t workspace_per_thread, real* shared, int threads,
) noexcept nogil:
    """dx = conv(dy, weight turned round), times the derivative of the activation that made x"""
    cdef Forward f
    f.t = tiling_of(g, True)
    f.y, f.x, f.prepared, f.bias, f.output = dx, dy, prepared, NULL, x
    f.is_gradient, f.activation, f.slope = True, g.activation if x != NULL else 0, slope
    forward(&f, workspace, workspace_per_thread, shared, threads)


# ---- the gradient of the weights ----------------------------------------------------------------

cdef GradientPlanes gradient_planes(const Tiling* t, Py_ssize_t tiles, real* workspace) noexcept nogil:
    """A row of zeros, V and D of a block in a workspace."""
    cdef GradientPlanes planes
    cdef Py_ssize_t wide = max(t.wide_channels, t.wide_filters)
    planes.plane_v = tiles * t.wide_channels + UNIT
    planes.plane_d = tiles * t.wide_filters + UNIT
    planes.zeros = workspace
    planes.v = workspace + wide
    planes.d = planes.v + PRODUCTS * planes.plane_v
    memset(workspace, 0, wide * sizeof(real))
    return planes


cdef void gradient_tiles_in(
    const Tiling* t, real* d, Py_ssize_t plane, const real* dy,
    Py_ssize_t first, Py_ssize_t last, const real* zeros,
) noexcept nogil:
    """d (36 planes, last - first tiles, wide_filters) = A dy A^T"""
    cdef Py_ssize_t tile, image, of_image, top, left
    cdef const real* gradient
    for tile in range(first, last):
        image = tile // t.tiles_of_image
        of_image = tile - image * t.tiles_of_image
        top = of_image // t.tiles_across * t.outputs
        left = of_image % t.tiles_across * t.outputs
        gradient = dy + image * t.out_height * t.out_width * t.filters
        if t.taps == 3:
            output_gradient_tile(3, d + (tile - first) * t.wide_filters, plane, gradient, top, left,
                                 t.out_height, t.out_width, t.filters, zeros)
        else:
            output_gradient_tile(5, d + (tile - first) * t.wide_filters, plane, gradient, top, left,
                                 t.out_height, t.out_width, t.filters, zeros)


cdef void gradient_product(
    const Tiling* t, real* sums, Py_ssize_t panel, Py_ssize_t first_channel, Py_ssize_t channels,
    const real* v, const real* d, Py_ssize_t tiles, bint accumulate,
) noexcept nogil:
    """Some channels of a panel of sums (channels, filters) (+)= v^T (.., tiles) @ d (tiles, filters)"""
    cdef Py_ssize_t first, vectors, last_lanes
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    panel_product(vectors, channels, tiles, v + first_channel, 1, t.wide_channels,
                  d + first, t.wide_filters, sums, vectors * LANES, NULL, accumulate, LANES)


cdef void bias_sums(
    const Tiling* t, real* dbias, const real* d, Py_ssize_t tiles, bint accumulate,
) noexcept nogil:
    """dbias (wide_filters) (+)= the sum over tiles of d (tiles, wide_filters) of the point (1, 1)"""
    cdef Py_ssize_t first = 0, tile
    cdef vreal total
    while first < t.filters:
        total = v_set(0)
        if accumulate:
            total = v_load(dbias + first)
        for tile in range(tiles):
            total += v_load(d + tile * t.wide_filters + first)
        v_store(dbias + first, total)
        first += LANES


cdef void gradient_chunk(const Gradient* s, Py_ssize_t chunk, real* workspace) noexcept nogil:
    """The sums of a chunk of the tiles, block by block, by one thread."""
    cdef const Tiling* t = &s.t
    cdef GradientPlanes planes = gradient_planes(t, t.gradient_block, workspace)
    cdef real* sums = s.sums + chunk * s.chunk_size
    cdef Py_ssize_t begin = block_start(chunk, s.chunks, t.tiles)
    cdef Py_ssize_t tiles = block_start(chunk + 1, s.chunks, t.tiles) - begin
    cdef Py_ssize_t blocks = max(1, (tiles + t.gradient_block - 1) // t.gradient_block)
    cdef Py_ssize_t block, first, last, point, panel
    for block in range(blocks):
        first = begin + block_start(block, blocks, tiles)
        last = begin + block_start(block + 1, blocks, tiles)
        tiles_in(t, planes.v, planes.plane_v, s.x, first, last, planes.zeros)
        gradient_tiles_in(t, planes.d, planes.plane_d, s.dy, first, last, planes.zeros)
        for point in range(PRODUCTS):
            for panel in range(t.panels):
                gradient_product(t, sums + point * t.weight_plane + panel_start(t, panel), panel,
                                 0, t.channels, planes.v + point * planes.plane_v,
                                 planes.d + point * planes.plane_d, last - first, block > 0)
        bias_sums(t, sums + PRODUCTS * t.weight_plane, planes.d + (POINTS + 1) * planes.plane_d,
                  last - first, block > 0)


cdef void gradient_chunk_by_team(
    const Gradient* s, Py_ssize_t chunk, real* planes_workspace,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """The same, each block shared by the team.

    The only block of an only chunk needs no sums beyond a task: they stay in the thread's cache.
    """
    cdef const Tiling* t = &s.t
    cdef GradientPlanes planes = gradient_planes(t, t.gradient_block, planes_workspace)
    cdef real* dbias = s.sums + chunk * s.chunk_size + PRODUCTS * t.weight_plane
    cdef Py_ssize_t begin = block_start(chunk, s.chunks, t.tiles)
    cdef Py_ssize_t tiles = block_start(chunk + 1, s.chunks, t.tiles) - begin
    cdef Py_ssize_t blocks = max(1, (tiles + t.gradient_block - 1) // t.gradient_block)
    cdef Py_ssize_t pieces = (t.channels + TASK_CHANNELS - 1) // TASK_CHANNELS
    cdef Py_ssize_t block, first, last, tile, task
    for block in range(blocks):
        first = begin + block_start(block, blocks, tiles)
        last = begin + block_start(block + 1, blocks, tiles)
        for tile in prange(first, last, schedule="static", num_threads=threads):
            tiles_in(t, planes.v + (tile - first) * t.wide_channels, planes.plane_v, s.x,
                     tile, tile + 1, planes.zeros)
            gradient_tiles_in(t, planes.d + (tile - first) * t.wide_filters, planes.plane_d, s.dy,
                              tile, tile + 1, planes.zeros)
        for task in prange(pieces * t.panels, schedule="static", num_threads=threads):
            gradient_task(s, &planes, chunk, last - first, task // t.panels * TASK_CHANNELS,
                          task % t.panels, block > 0,
                          <real*>(workspace + threadid() * workspace_per_thread)
                          if only_block(s) else NULL)
        bias_sums(t, dbias, planes.d + (POINTS + 1) * planes.plane_d, last - first, block > 0)


cdef inline bint only_block(const Gradient* s) noexcept nogil:
    return s.chunks == 1 and s.t.tiles <= s.t.gradient_block


cdef void gradient_task(
    const Gradient* s, const GradientPlanes* planes, Py_ssize_t chunk, Py_ssize_t tiles,
    Py_ssize_t first_channel, Py_ssize_t panel, bint accumulate, real* own_sums,
) noexcept nogil:
    """TASK_CHANNELS of a panel, all points; where the thread has sums of its own, dweight of them."""
    cdef const Tiling* t = &s.t
    cdef Py_ssize_t channels = min(TASK_CHANNELS, t.channels - first_channel)
    cdef Py_ssize_t first, vectors, last_lanes, point, channel, plane
    cdef real* sums = own_sums
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    plane = TASK_CHANNELS * vectors * LANES + UNIT
    if own_sums == NULL:
        plane = t.weight_plane
        sums = (s.sums + chunk * s.chunk_size + first * t.channels
                + first_channel * vectors * LANES)
    for point in range(PRODUCTS):
        gradient_product(t, sums + point * plane, panel, first_channel, channels,
                         planes.v + point * planes.plane_v, planes.d + point * planes.plane_d,
                         tiles, accumulate)
    if own_sums != NULL:
        for channel in range(channels):
            gradient_out(s, own_sums + channel * vectors * LANES, plane, first_channel + channel,
                         panel)


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
    cdef Py_ssize_t first, vectors, last_lanes, j, lanes, chunk
    cdef const real* at
    cdef int point
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    for j in range(vectors):
        lanes = last_lanes if j == vectors - 1 else LANES
        at = sums + j * LANES
        for point in range(PRODUCTS):
            u[point] = v_load(at + point * plane)
        for chunk in range(1, s.chunks):
            at += s.chunk_size
            for point in range(PRODUCTS):
                u[point] += v_load(at + point * plane)
        weight_gradient_vector(taps, s.dweight + channel * t.filters + first + j * LANES,
                               t.channels * t.filters, u, lanes)


cdef void gradient_out(
    const Gradient* s, const real* sums, Py_ssize_t plane, Py_ssize_t channel, Py_ssize_t panel,
) noexcept nogil:
    if s.t.taps == 3:
        sums_out(3, s, sums, plane, channel, panel)
    else:
        sums_out(5, s, sums, plane, channel, panel)


cdef void chunks_out(const Gradient* s, Py_ssize_t channel) noexcept nogil:
    """dweight of one channel from the chunks' sums."""
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
    cdef Py_ssize_t chunk, channel
    t[0] = tiling_of(g, False)
    s.dweight, s.dbias, s.x, s.dy, s.sums = dweight, dbias, x, dy, shared
    s.chunk_size = PRODUCTS * t.weight_plane + t.wide_filters
    s.chunks = min(SUMS_BYTES // (s.chunk_size * <Py_ssize_t>sizeof(real)), MOST_CHUNKS)
    s.chunks = max(1, min(s.chunks, t.tiles // t.gradient_block))
    if threads > s.chunks or (only_block(&s) and s.chunk_size * <Py_ssize_t>sizeof(real) > BLOCK_BYTES):
        for chunk in range(s.chunks):
            gradient_chunk_by_team(&s, chunk, shared + s.chunks * s.chunk_size,
                                   workspace, workspace_per_thread, threads)
        if only_block(&s):
            if dbias != NULL:
                bias_out(&s)
            return
    elif threads > 1:
        for chunk in prange(s.chunks, schedule="static", num_threads=threads):
            gradient_chunk(&s, chunk, <real*>(workspace + threadid() * workspace_per_thread))
    else:
        for chunk in range(s.chunks):
            gradient_chunk(&s, chunk, <real*>workspace)
    if threads == 1:
        for channel in range(t.channels):
            chunks_out(&s, channel)
    else:
        for channel in prange(t.channels, schedule="static", num_threads=threads):
            chunks_out(&s, channel)
    if dbias != NULL:
        bias_out(&s)


cdef void run_conv2d_winograd_weight(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_weight(<real*>s.data[0], <real*>s.data[1], &g, s.threads)


cdef void run_conv2d_winograd_forward(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                            &g, <real>s.scalar[0], s.workspace, s.workspace_per_thread,
                            <real*>s.shared_workspace, s.threads)


cdef void run_conv2d_winograd_backward_input(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_backward_input(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &g,
        <real>s.scalar[0], s.workspace, s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


cdef void run_conv2d_winograd_backward_parameters(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    conv2d_winograd_backward_parameters(
        <real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3], &g,
        s.workspace, s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


KERNELS = {
    "conv2d_winograd_weight": publish(run_conv2d_winograd_weight),
    "conv2d_winograd_forward": publish(run_conv2d_winograd_forward),
    "conv2d_winograd_backward_input": publish(run_conv2d_winograd_backward_input),
    "conv2d_winograd_backward_parameters": publish(run_conv2d_winograd_backward_parameters),
}
