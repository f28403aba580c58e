"""Products with patches: register tiles that read A through two tables of offsets (patches.pxd).

    c[c_rows[i]] (panel,)  =  sum over k of  a[a_rows[i] + a_depth[k]] * b[k] (panel,)

Rows of a tile are pointers, the depth is a table that they share, so that a tile runs across the
ends of rows, and neither stride nor dilation nor groups cost anything:

    forward               y (pixels, filters)      rows: pixels    depth: taps      b: the weights
    backward to weights   dweight (taps, filters)  rows: taps      depth: pixels    b: dy

A product may ask for other memory while it computes, a line with each step of a sum (`Ahead`): what
the next product reads comes evenly, where the tiles themselves would ask for all of it in their first
column and wait.

Each sum runs in the same order whichever tile holds it. A is read element by element, never
beyond; of the last row of B up to LANES - 1 elements beyond are read (never used).
"""

from fastnn._core.kernels.convolution cimport ceiling
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    TILE_VECTORS,
    real,
    v_load,
    v_load_first,
    v_prefetch,
    v_set,
    v_store,
    v_store_first,
    vreal,
)


cdef enum:
    CACHE_LINE = 64            # bytes

cdef struct Ahead:
    # Lines of memory that the next product reads: of B, then of A
    const char* b
    Py_ssize_t b_lines
    const char* a
    Py_ssize_t a_lines


cdef inline const char* take_lines(
    Ahead* ahead, const Py_ssize_t wanted, Py_ssize_t* distance,
) noexcept nogil:
    """Where a tile asks from, and the distance to its next line.

    When all has been asked for it goes on to ask for what is at hand, this struct.
    """
    cdef const char* first = <const char*>ahead
    distance[0] = 0
    if ahead.b_lines > 0:
        first, distance[0] = ahead.b, CACHE_LINE
        ahead.b += wanted * CACHE_LINE
        ahead.b_lines -= wanted
    elif ahead.a_lines > 0:
        first, distance[0] = ahead.a, CACHE_LINE
        ahead.a += wanted * CACHE_LINE
        ahead.a_lines -= wanted
    return first


cdef inline void patch_tile(
    const int rows, const int vectors, const Py_ssize_t depth,
    const real* a, const int* a_rows, const int* a_depth,
    const real* b, const Py_ssize_t b_depth,
    real* c, const int* c_rows, const real* start, const bint accumulate, const Py_ssize_t last_lanes,
    Ahead* ahead,
) noexcept nogil:
    """One tile; `rows` and `vectors` are literals where it is called, so that all loops unroll.

    c[c_rows[i]] (vectors,) = sum over k of a[a_rows[i] + a_depth[k]] * b[k * b_depth] (vectors,),
    plus `start` (vectors,) unless NULL, plus c itself if `accumulate`. `ahead` is NULL as a literal
    where nothing is asked for.
    """
    cdef vreal sums[8][4]
    cdef vreal b_values[4]
    cdef const real* a_row[8]
    cdef real a_value
    cdef int i, j
    cdef Py_ssize_t k, at, distance = 0
    cdef const char* line = NULL
    # A tile of one vector has no load to spare.
    cdef bint asks = ahead != NULL and vectors > 1
    if asks:
        line = take_lines(ahead, depth, &distance)
    for i in range(rows):
        a_row[i] = a + a_rows[i]
        for j in range(vectors):
            if accumulate:
                sums[i][j] = v_load_first(c + c_rows[i] + j * LANES,
                                          LANES if j < vectors - 1 else last_lanes)
            elif start != NULL:
                sums[i][j] = v_load(start + j * LANES)
            else:
                sums[i][j] = v_set(0)
    for k in range(depth):  # no-cython-lint
        at = a_depth[k]
        if asks:
            v_prefetch(line)
            line += distance
        for j in range(vectors):
            b_values[j] = v_load(b + j * LANES)
        for i in range(rows):
            a_value = a_row[i][at]
            for j in range(vectors):
                sums[i][j] += a_value * b_values[j]
        b += b_depth
    for i in range(rows):
        for j in range(vectors - 1):
            v_store(c + c_rows[i] + j * LANES, sums[i][j])
        if last_lanes == LANES:
            v_store(c + c_rows[i] + (vectors - 1) * LANES, sums[i][vectors - 1])
        else:
            v_store_first(c + c_rows[i] + (vectors - 1) * LANES, sums[i][vectors - 1], last_lanes)


cdef inline void patch_tiles(
    const int vectors, const Py_ssize_t rows, const Py_ssize_t depth,
    const real* a, const int* a_rows, const int* a_depth,
    const real* b, const Py_ssize_t b_depth,
    real* c, const int* c_rows, const real* start, const bint accumulate, const Py_ssize_t last_lanes,
    Ahead* ahead,
) noexcept nogil:
    """All rows, by tiles of nearly the same height: 25 rows are 7 + 6 + 6 + 6, not 8 + 8 + 8 + 1."""
    cdef Py_ssize_t tile, tiles = ceiling(rows, TILE_ROWS), height
    for tile in range(tiles):
        height = (tile + 1) * rows // tiles - tile * rows // tiles
        if TILE_ROWS >= 8 and height == 8:
            patch_tile(8, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        elif TILE_ROWS >= 8 and height == 7:
            patch_tile(7, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        elif height == 6:
            patch_tile(6, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        elif height == 5:
            patch_tile(5, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        elif height == 4:
            patch_tile(4, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        elif height == 3:
            patch_tile(3, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        elif height == 2:
            patch_tile(2, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        else:
            patch_tile(1, vectors, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start,
                       accumulate, last_lanes, ahead)
        a_rows += height
        c_rows += height


cdef inline void patch_product(
    const Py_ssize_t vectors, const Py_ssize_t rows, const Py_ssize_t depth,
    const real* a, const int* a_rows, const int* a_depth,
    const real* b, const Py_ssize_t b_depth,
    real* c, const int* c_rows, const real* start, const bint accumulate, const Py_ssize_t last_lanes,
    Ahead* ahead,
) noexcept nogil:
    """A panel of `vectors` vectors. To be called at one place of a file: all tiles are unrolled there."""
    if vectors == 1:
        patch_tiles(1, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes, ahead)
    elif vectors == 2:
        patch_tiles(2, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes, ahead)
    elif TILE_VECTORS >= 3 and vectors == 3:
        patch_tiles(3, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes, ahead)
    elif TILE_VECTORS >= 4 and vectors == 4:
        patch_tiles(4, rows, depth, a, a_rows, a_depth, b, b_depth, c, c_rows, start, accumulate,
                    last_lanes, ahead)
