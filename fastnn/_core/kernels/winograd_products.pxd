"""Products of Winograd's planes from register tiles: the loops of matmul.pxd over another layout.

    planes (groups of tiles, units of channels, 36 and one more, GROUP_TILES and one more, UNIT)

    forward:   m (tiles, filters) = v (tiles, channels) @ u       depth: channels, unit by unit
    gradient:  sums (channels, filters) = v^T @ d (tiles, ..)     depth: tiles, group by group

Sums stay in registers over the whole depth. Where filters fill one vector alone, a tile has more
rows: as many sums as in a tile of several vectors, since short products start often.
"""

from fastnn._core.kernels.winograd_tiles cimport GROUP_TILES, PLANE, UNIT, UNIT_PLANES, channel_at
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    TILE_VECTORS,
    real,
    v_load,
    v_prefetch_to_second_cache,
    v_set,
    v_store,
    vreal,
)


cdef enum:
    # Rows of a tile of one vector.
    ROWS_OF_ONE = TILE_ROWS * TILE_VECTORS


cdef inline void forward_tile(
    const int rows, const int vectors, real* m, const Py_ssize_t* columns,
    const real* v, const real* u, Py_ssize_t channels, const real* next_u,
) noexcept nogil:
    """m (rows, vectors) = v (rows, channels) @ u (channels, vectors)

    `columns` tells where the vectors of m lie. `next_u` (channels, LANES) is asked for meanwhile.
    """
    cdef vreal sums[24][4]
    cdef vreal u_values[4]
    cdef real value
    cdef Py_ssize_t k, left = UNIT
    cdef int i, j
    for i in range(rows):
        for j in range(vectors):
            sums[i][j] = v_set(0)
    # One loop with a step from unit to unit: of a loop in a loop, the inner one is unrolled by a
    # compiler that knows its length, into more code than its cache holds.
    for k in range(channels):  # no-cython-lint
        v_prefetch_to_second_cache(next_u + k * LANES)
        for j in range(vectors):
            u_values[j] = v_load(u + j * LANES)
        for i in range(rows):
            value = v[i * UNIT]
            for j in range(vectors):
                sums[i][j] += value * u_values[j]
        u += vectors * LANES
        v += 1
        left -= 1
        if left == 0:
            left = UNIT
            v += UNIT_PLANES - UNIT
    for i in range(rows):
        for j in range(vectors):
            v_store(m + columns[j] + i * UNIT, sums[i][j])


cdef inline void forward_rows(
    const int most, const int vectors, real* m, const Py_ssize_t* columns, const real* v,
    const real* u, Py_ssize_t tiles, const Py_ssize_t channels,
) noexcept nogil:
    """The tiles of a group, by as many rows as registers hold."""
    cdef const real* next_u = u + vectors * LANES * channels
    while tiles >= most:
        forward_tile(most, vectors, m, columns, v, u, channels, next_u)
        next_u += channels * LANES
        tiles -= most
        m += most * UNIT
        v += most * UNIT
    while tiles >= TILE_ROWS:
        forward_tile(TILE_ROWS, vectors, m, columns, v, u, channels, next_u)
        next_u += channels * LANES
        tiles -= TILE_ROWS
        m += TILE_ROWS * UNIT
        v += TILE_ROWS * UNIT
    if tiles >= 4:
        forward_tile(4, vectors, m, columns, v, u, channels, next_u)
        tiles -= 4
        m += 4 * UNIT
        v += 4 * UNIT
    if tiles >= 2:
        forward_tile(2, vectors, m, columns, v, u, channels, next_u)
        tiles -= 2
        m += 2 * UNIT
        v += 2 * UNIT
    if tiles >= 1:
        forward_tile(1, vectors, m, columns, v, u, channels, next_u)


cdef inline void forward_product(
    real* m, const Py_ssize_t first_column, const Py_ssize_t vectors,
    const real* v, const real* u, const Py_ssize_t tiles, const Py_ssize_t channels,
) noexcept nogil:
    """Some vectors of filters of m (tiles, ..) = v (tiles, channels) @ u: a group, in one plane"""
    cdef Py_ssize_t columns[4]
    cdef Py_ssize_t j
    for j in range(vectors):
        columns[j] = channel_at(first_column + j * LANES, UNIT_PLANES)
    if vectors == 1:
        forward_rows(ROWS_OF_ONE, 1, m, columns, v, u, tiles, channels)
    elif vectors == 2:
        forward_rows(TILE_ROWS, 2, m, columns, v, u, tiles, channels)
    elif TILE_VECTORS >= 3 and vectors == 3:
        forward_rows(TILE_ROWS, 3, m, columns, v, u, tiles, channels)
    elif TILE_VECTORS >= 4 and vectors == 4:
        forward_rows(TILE_ROWS, 4, m, columns, v, u, tiles, channels)


cdef inline void gradient_tile(
    const int rows, const int vectors, real* sums, const Py_ssize_t* columns,
    const real* v, const Py_ssize_t v_group, const real* d, const Py_ssize_t d_group,
    Py_ssize_t tiles, const bint accumulate,
) noexcept nogil:
    """sums (rows, vectors) (+)= v^T (rows, tiles) @ d (tiles, vectors), over all groups of a block"""
    cdef vreal totals[16][4]
    cdef vreal d_values[4]
    cdef real value
    cdef Py_ssize_t k, left = GROUP_TILES
    cdef int i, j
    for i in range(rows):
        for j in range(vectors):
            totals[i][j] = v_set(0)
            if accumulate:
                totals[i][j] = v_load(sums + (i * vectors + j) * LANES)
    for k in range(tiles):  # no-cython-lint
        for j in range(vectors):
            d_values[j] = v_load(d + columns[j])
        for i in range(rows):
            value = v[i]
            for j in range(vectors):
                totals[i][j] += value * d_values[j]
        v += UNIT
        d += UNIT
        left -= 1
        if left == 0:
            left = GROUP_TILES
            v += v_group - GROUP_TILES * UNIT
            d += d_group - GROUP_TILES * UNIT
    for i in range(rows):
        for j in range(vectors):
            v_store(sums + (i * vectors + j) * LANES, totals[i][j])


cdef inline void gradient_rows(
    const int vectors, real* sums, const Py_ssize_t* columns, const real* v,
    const Py_ssize_t v_group, const real* d, const Py_ssize_t d_group, const Py_ssize_t tiles,
    Py_ssize_t channels, const bint accumulate,
) noexcept nogil:
    """The channels of a unit, by as many rows as registers hold."""
    if vectors == 1:
        while channels >= 2 * TILE_ROWS:
            gradient_tile(2 * TILE_ROWS, vectors, sums, columns, v, v_group, d, d_group, tiles,
                          accumulate)
            channels -= 2 * TILE_ROWS
            v += 2 * TILE_ROWS
            sums += 2 * TILE_ROWS * vectors * LANES
    while channels >= TILE_ROWS:
        gradient_tile(TILE_ROWS, vectors, sums, columns, v, v_group, d, d_group, tiles, accumulate)
        channels -= TILE_ROWS
        v += TILE_ROWS
        sums += TILE_ROWS * vectors * LANES
    if channels >= 4:
        gradient_tile(4, vectors, sums, columns, v, v_group, d, d_group, tiles, accumulate)
        channels -= 4
        v += 4
        sums += 4 * vectors * LANES
    if channels >= 2:
        gradient_tile(2, vectors, sums, columns, v, v_group, d, d_group, tiles, accumulate)
        channels -= 2
        v += 2
        sums += 2 * vectors * LANES
    if channels >= 1:
        gradient_tile(1, vectors, sums, columns, v, v_group, d, d_group, tiles, accumulate)


cdef inline void gradient_product(
    real* sums,          # (channels, vectors * LANES)
    const Py_ssize_t first_column, const Py_ssize_t vectors,
    const real* v, const Py_ssize_t v_group, const real* d, const Py_ssize_t d_group,
    const Py_ssize_t tiles, Py_ssize_t channels, const bint accumulate,
) noexcept nogil:
    """sums (+)= v^T (channels, tiles) @ some vectors of d (tiles, filters): a block, in one plane"""
    cdef Py_ssize_t columns[4]
    cdef Py_ssize_t j, here
    for j in range(vectors):
        columns[j] = channel_at(first_column + j * LANES, UNIT_PLANES)
    while channels > 0:
        here = min(channels, <Py_ssize_t>UNIT)
        if vectors == 1:
            gradient_rows(1, sums, columns, v, v_group, d, d_group, tiles, here, accumulate)
        elif vectors == 2:
            gradient_rows(2, sums, columns, v, v_group, d, d_group, tiles, here, accumulate)
        elif TILE_VECTORS >= 3 and vectors == 3:
            gradient_rows(3, sums, columns, v, v_group, d, d_group, tiles, here, accumulate)
        elif TILE_VECTORS >= 4 and vectors == 4:
            gradient_rows(4, sums, columns, v, v_group, d, d_group, tiles, here, accumulate)
        sums += here * vectors * LANES
        v += UNIT_PLANES
        channels -= here
