"""Winograd's convolution: 3 x 3 by F(4 x 4, 3 x 3) and 5 x 5 by F(2 x 2, 5 x 5), stride 1.

    x ──B^T x B──▶ V (36, tiles, channels) ──36 products──▶ M (36, tiles, filters) ──A^T M A──▶ y
                              weight ──G g G^T──▶ U (36, channels, filters) ──┘

A tile of 6 x 6 pixels gives 4 x 4 (or 2 x 2) of the output, so that neighbours overlap. Tiles are
worked on in blocks whose planes stay in the second-level cache between the three phases. M's plane
p is written over V's plane p - 1, which is spent by then: one set of planes, and one plane more.

Threads take blocks. Where tiles are few and U is large, the team shares the 36 products instead.

The gradient of the input is the convolution of dy with flipped weights, channels and filters
swapped. That of the weights is in conv_winograd_gradient.pyx.

A convolution with a stride goes the same way after its image is rearranged (space_to_depth.pxd).
"""

from libc.string cimport memset

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, ceiling, convolution_of
from fastnn._core.kernels.matmul cimport panel_bounds, transpose_square
from fastnn._core.kernels.space_to_depth cimport blocks_of_images, image_row
from fastnn._core.kernels.winograd_products cimport forward_product
from fastnn._core.kernels.winograd_tiles cimport (
    GROUP_TILES,
    PLANE,
    UNIT,
    UNIT_PLANES,
    output_tile,
    weight_vector,
)
from fastnn._core.kernels.winograd_tiling cimport (
    BLOCK_BYTES,
    MOST_GROUPS,
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
from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_set, v_store, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    # With fewer tiles for each thread, and a U that no second-level cache holds, the team shares U.
    # Otherwise planes that one core writes and another reads would cost more than they save.
    TEAM_WORTH_TILES = 24
    TEAM_WORTH_BYTES = 4194304


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
    Py_ssize_t blocks    # of tiles
    # Of dx of a convolution with a stride, which y has in blocks
    const Convolution* g
    real* dx


# ---- weights ------------------------------------------------------------------------------------

cdef struct Weights:
    # u = G g G^T
    Tiling t
    real* u
    const real* weight
    bint flipped


cdef inline void weight_block(
    const int taps, const Tiling* t, real* u, const real* weight, const Py_ssize_t channel,
) noexcept nogil:
    """U of one channel, all filters; weight (taps * taps, channels, filters)."""
    cdef vreal g[25]
    cdef Py_ssize_t panel, first, vectors, last_lanes, j, lanes
    cdef Py_ssize_t rows[25]
    cdef int tap
    for tap in range(taps * taps):
        rows[tap] = weight_at(t, channel, tap)
    for panel in range(t.panels):
        panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
        for j in range(vectors):
            lanes = last_lanes if j == vectors - 1 else LANES
            for tap in range(taps * taps):
                g[tap] = v_set(0)
                if rows[tap] >= 0:
                    g[tap] = v_load_first(weight + rows[tap] + first + j * LANES, lanes)
            weight_vector(taps, g, u + first * t.channels + (channel * vectors + j) * LANES,
                          t.weight_plane)


cdef inline void flipped_weight_block(
    const int taps, const Tiling* t, real* u, const real* weight, const Py_ssize_t first_channel,
) noexcept nogil:
    """U of LANES channels, all filters, of weight (taps * taps, filters, channels) turned round."""
    cdef vreal g[25]
    cdef vreal square[16]
    cdef real turned[25 * 16 * 16]       # (taps * taps, LANES channels, LANES filters)
    cdef Py_ssize_t panel, first, vectors, last_lanes, j, lanes, i, row
    cdef Py_ssize_t channels = min(LANES, t.channels - first_channel)
    cdef int tap
    for panel in range(t.panels):
        panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
        for j in range(vectors):
            lanes = last_lanes if j == vectors - 1 else LANES
            for tap in range(taps * taps):
                for i in range(LANES):
                    square[i] = v_set(0)
                for i in range(lanes):
                    row = weight_at(t, first + j * LANES + i, tap)
                    if row >= 0:
                        square[i] = v_load_first(weight + row + first_channel, channels)
                transpose_square(square)
                for i in range(LANES):
                    v_store(turned + ((taps * taps - 1 - tap) * LANES + i) * LANES, square[i])
            for i in range(channels):
                for tap in range(taps * taps):
                    g[tap] = v_load(turned + (tap * LANES + i) * LANES)
                weight_vector(taps, g, u + first * t.channels
                              + ((first_channel + i) * vectors + j) * LANES, t.weight_plane)


cdef void weight_task(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    cdef const Weights* w = <const Weights*>context
    if w.flipped and w.t.taps == 3:
        flipped_weight_block(3, &w.t, w.u, w.weight, task * LANES)
    elif w.flipped:
        flipped_weight_block(5, &w.t, w.u, w.weight, task * LANES)
    elif w.t.taps == 3:
        weight_block(3, &w.t, w.u, w.weight, task)
    else:
        weight_block(5, &w.t, w.u, w.weight, task)


cdef void conv2d_winograd_weight(
    real* u,             # (36, panels, channels, filters of a panel), planes `weight_plane` apart
    const real* weight,  # (taps, taps, channels, filters); for_backward: of the forward convolution
    const Convolution* g, int threads,
) noexcept nogil:
    """u = G g G^T; for_backward: of the weights turned by 180 degrees, channels and filters swapped"""
    cdef Weights w = Weights(tiling_of(g, g.for_backward), u, weight, g.for_backward)
    cdef Py_ssize_t tasks = w.t.channels
    if w.flipped:
        tasks = ceiling(w.t.channels, LANES)
    run_tasks(weight_task, &w, tasks, NULL, 0, threads)


# ---- forward, and the gradient of the input -----------------------------------------------------

cdef void product(
    const Tiling* t, real* m, const real* v, Py_ssize_t units, const real* prepared,
    Py_ssize_t tiles, Py_ssize_t point, Py_ssize_t panel,
) noexcept nogil:
    """A panel of filters of m = v @ U[point], for the tiles of a block"""
    cdef Py_ssize_t first, vectors, last_lanes
    panel_bounds(panel, t.panels, t.filters, &first, &vectors, &last_lanes)
    prepared += point * t.weight_plane + first * t.channels
    while tiles > 0:
        forward_product(m, first, vectors, v, prepared, min(tiles, <Py_ssize_t>GROUP_TILES),
                        t.channels)
        m += units * UNIT_PLANES
        v += units * UNIT_PLANES
        tiles -= GROUP_TILES


cdef void tiles_out(
    const Forward* f, const real* m, Py_ssize_t units, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """y = A^T m A + bias, then the activation of each row of a tile while it is in the cache"""
    cdef const Tiling* t = &f.t
    cdef Place place = place_of(t, first)
    cdef Py_ssize_t tile, top, left, rows, columns, at, row
    for tile in range(last - first):
        top, left = place.row * t.outputs, place.column * t.outputs
        rows = min(t.outputs, t.out_height - top)
        columns = min(t.outputs, t.out_width - left)
        at = ((place.image * t.out_height + top) * t.out_width + left) * t.filters
        to_next(t, &place)
        if t.taps == 3:
            output_tile(3, f.y + at, t.out_width * t.filters, t.filters, m + tile_at(tile, units),
                        PLANE, UNIT_PLANES, f.bias, rows, columns)
        else:
            output_tile(5, f.y + at, t.out_width * t.filters, t.filters, m + tile_at(tile, units),
                        PLANE, UNIT_PLANES, f.bias, rows, columns)
        if f.activation == 0:
            continue
        for row in range(rows):  # no-cython-lint
            if f.is_gradient:
                activation_backward_row(f.activation, f.y + at, f.y + at, f.output + at,
                                        columns * t.filters, f.slope)
            else:
                activation_forward_row(f.activation, f.y + at, f.y + at, columns * t.filters,
                                       f.slope)
            at += t.out_width * t.filters


cdef void forward_block(const void* context, Py_ssize_t block, char* workspace) noexcept nogil:
    """All three phases of a block of tiles, by one thread."""
    cdef const Forward* f = <const Forward*>context
    cdef const Tiling* t = &f.t
    cdef Py_ssize_t units = max(t.units_in, t.units_out)
    cdef Py_ssize_t first = block_start(block, f.blocks, t.tiles)
    cdef Py_ssize_t last = block_start(block + 1, f.blocks, t.tiles)
    cdef real* zeros = <real*>workspace
    cdef real* m = zeros + POINTS * t.wide_channels
    cdef real* v = m + PLANE
    cdef Py_ssize_t point, panel
    memset(zeros, 0, POINTS * t.wide_channels * sizeof(real))
    tiles_in(t, v, units, f.x, first, last, zeros)
    for point in range(PRODUCTS):
        for panel in range(t.panels):
            product(t, m + point * PLANE, v + point * PLANE, units, f.prepared, last - first, point,
                    panel)
    tiles_out(f, m, units, first, last)


cdef struct TeamBlock:
    # A block of tiles of which the team shares each phase
    const Forward* f
    Py_ssize_t first     # tile
    Py_ssize_t tiles
    Py_ssize_t units
    const real* zeros
    real* v
    real* m


cdef void team_tile_in(const void* context, Py_ssize_t tile, char* workspace) noexcept nogil:
    cdef const TeamBlock* b = <const TeamBlock*>context
    tiles_in(&b.f.t, b.v + tile_at(tile, b.units), b.units, b.f.x, b.first + tile,
             b.first + tile + 1, b.zeros)


cdef void team_product(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """A panel of the product of one point."""
    cdef const TeamBlock* b = <const TeamBlock*>context
    cdef Py_ssize_t point = task // b.f.t.panels
    product(&b.f.t, b.m + point * PLANE, b.v + point * PLANE, b.units, b.f.prepared, b.tiles, point,
            task % b.f.t.panels)


cdef void team_tile_out(const void* context, Py_ssize_t tile, char* workspace) noexcept nogil:
    cdef const TeamBlock* b = <const TeamBlock*>context
    tiles_out(b.f, b.m + tile_at(tile, b.units), b.units, b.first + tile, b.first + tile + 1)


cdef void forward_team_block(
    const Forward* f, Py_ssize_t first, Py_ssize_t last, real* workspace, int threads,
) noexcept nogil:
    """All three phases of a block of tiles, each shared by the team."""
    cdef Py_ssize_t units = max(f.t.units_in, f.t.units_out)
    cdef real* v = workspace + POINTS * f.t.wide_channels
    cdef TeamBlock b = TeamBlock(f, first, last - first, units, workspace, v,
                                 v + MOST_GROUPS * units * UNIT_PLANES)
    memset(workspace, 0, POINTS * f.t.wide_channels * sizeof(real))
    run_tasks(team_tile_in, &b, b.tiles, NULL, 0, threads)
    run_tasks(team_product, &b, PRODUCTS * f.t.panels, NULL, 0, threads)
    run_tasks(team_tile_out, &b, b.tiles, NULL, 0, threads)


cdef void forward(
    Forward* f, char* workspace, Py_ssize_t workspace_per_thread, real* shared, int threads,
) noexcept nogil:
    cdef Tiling* t = &f.t
    cdef Py_ssize_t blocks, block
    if (threads > 1 and t.tiles < TEAM_WORTH_TILES * threads
            and PRODUCTS * t.weight_plane * <Py_ssize_t>sizeof(real) > TEAM_WORTH_BYTES):
        blocks = ceiling(t.tiles, MOST_GROUPS * GROUP_TILES)
        for block in range(blocks):
            forward_team_block(f, block_start(block, blocks, t.tiles),
                               block_start(block + 1, blocks, t.tiles), shared, threads)
        return
    f.blocks = ceiling(ceiling(t.tiles, t.block_groups * GROUP_TILES), threads) * threads
    run_tasks(forward_block, f, f.blocks, workspace, workspace_per_thread, threads)


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
    if f.t.stride > 1:
        blocks_of_images(&f.t, g, shared, x, threads)
        f.x = shared
        shared += whole_units(g.images * f.t.height * f.t.width * f.t.channels)
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
    cdef int activation = g.activation if x != NULL else 0
    cdef Py_ssize_t size
    f.t = tiling_of(g, True)
    f.y, f.x, f.prepared, f.bias, f.output = dx, dy, prepared, NULL, x
    f.is_gradient, f.activation, f.slope = True, activation, slope
    if f.t.stride == 1:
        forward(&f, workspace, workspace_per_thread, shared, threads)
        return
    f.y, f.activation, f.g, f.dx = shared, 0, g, dx
    size = whole_units(g.images * f.t.out_height * f.t.out_width * f.t.filters)
    forward(&f, workspace, workspace_per_thread, shared + size, threads)
    f.activation = activation
    run_tasks(row_from_blocks, &f, g.images * g.height, NULL, 0, threads)


cdef void row_from_blocks(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """A row of dx, of a convolution with a stride: its pixels lie in f.y, in blocks."""
    cdef const Forward* f = <const Forward*>context
    cdef Py_ssize_t size = f.g.width * f.g.channels, at = row * size
    image_row(&f.t, f.g, f.dx, f.y, row)
    if f.activation:
        activation_backward_row(f.activation, f.dx + at, f.dx + at, f.output + at, size, f.slope)


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


CONSTANTS = {
    "POINTS": POINTS,
    "PRODUCTS": PRODUCTS,
    "UNIT": UNIT,
    "GROUP_TILES": GROUP_TILES,
    "UNIT_PLANES": UNIT_PLANES,
    "BLOCK_BYTES": BLOCK_BYTES,
    "MOST_GROUPS": MOST_GROUPS,
    "TEAM_WORTH_BYTES": TEAM_WORTH_BYTES,
}
KERNELS = {
    # The stride tells whether images are rearranged.
    "conv2d_space_to_depth_weight": publish(run_conv2d_winograd_weight),
    "conv2d_space_to_depth_forward": publish(run_conv2d_winograd_forward),
    "conv2d_space_to_depth_backward_input": publish(run_conv2d_winograd_backward_input),
    "conv2d_winograd_weight": publish(run_conv2d_winograd_weight),
    "conv2d_winograd_forward": publish(run_conv2d_winograd_forward),
    "conv2d_winograd_backward_input": publish(run_conv2d_winograd_backward_input),
}
