"""Matrix products from register tiles, inlined into the kernels that need one.

    C (rows, columns) = A (rows, depth) @ B (depth, columns)

    columns ──▶ panels of TILE_VECTORS vectors      a panel of B is copied, `DEPTH_BLOCK` deep, into
    ┌─────┬─────┬──┐                                 consecutive memory where it is used often enough
    │ ▓▓▓ │     │  │ ◀ tile: TILE_ROWS rows whose    (and always where B is given transposed)
    │     │     │  │   sums stay in registers over
    └─────┴─────┴──┘   the whole depth of a block

The work is split over C alone, never over the depth, and each sum runs in the same order whichever
tile holds it: the result is the same, bit by bit, at any number of threads.

A is read element by element through two strides, so that a transposed A need not be copied. Where
many panels read it, it is worth while all the same: in strips, the rows of a tile side by side for
each step of the depth, no two lines of A compete for a place in the cache. B is read by whole
vectors: up to LANES - 1 elements beyond its last row are read (never used), which every
buffer of a program and of a parameter has room for. C is written exactly.
"""

from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    TILE_VECTORS,
    real,
    v_interleave_high,
    v_interleave_low,
    v_load,
    v_load_first,
    v_prefetch,
    v_prefetch_to_write,
    v_set,
    v_store,
    v_store_first,
    vreal,
)
from libc.string cimport memcpy

cdef enum:
    # One row has as many independent sums as there are vectors: eight keep two multiply-add units of
    # four cycles busy.
    ROW_VECTORS = 8
    # 4 KB of each row of A and 192 KB of a panel of B: the first stays in L1, the second in L2.
    DEPTH_BLOCK = 1024
    # Below this many rows a panel is read in place, which copying would cost more than it saves; but
    # not where B fills a second-level cache: rows a page apart come from memory one by one, and a copy
    # waits for many at a time.
    ROWS_WORTH_PACKING = 32
    SECOND_CACHE_ELEMENTS = 262144

cdef struct Operand:
    # An element of the matrix lies at data[row * row_stride + column * column_stride].
    const real* data
    Py_ssize_t row_stride
    Py_ssize_t column_stride


cdef inline void tile(
    const int rows, const int vectors, const bint in_strips, const Py_ssize_t depth,
    const real* a, const Py_ssize_t a_row, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_depth,
    real* c, const Py_ssize_t c_row,
    const real* start, const bint accumulate, const Py_ssize_t last_lanes,
) noexcept nogil:
    """One tile; `rows` to `in_strips` are literals where it is called, so that all loops unroll.

    c (rows, vectors) = a @ b, plus `start` (vectors,) unless NULL, plus c itself if `accumulate`.
    """
    cdef vreal sums[8][8]
    cdef vreal b_values[8]
    cdef real a_value
    cdef int i, j
    cdef Py_ssize_t k
    # The next tile's rows are asked for evenly, a part of a line with each step: tiles of which each
    # waits for its own take up to a third longer where A comes from memory. Of 16 registers, as AVX2
    # has them, there is none to spare for it.
    cdef bint asks = rows == TILE_ROWS and TILE_VECTORS > 2 and not in_strips
    cdef const char* line = <const char*>a
    cdef Py_ssize_t distance = 0
    if asks and a_depth == 1 and a_row == depth:
        line += rows * depth * sizeof(real)
        distance = rows * sizeof(real)
    if in_strips:
        # Where A was worth a copy C is large: its lines come while the sums are made.
        for i in range(rows):
            for j in range(vectors):
                v_prefetch_to_write(c + i * c_row + j * LANES)
    if accumulate:
        for i in range(rows):
            for j in range(vectors - 1):
                sums[i][j] = v_load(c + i * c_row + j * LANES)
            sums[i][vectors - 1] = v_load_first(c + i * c_row + (vectors - 1) * LANES, last_lanes)
    elif start != NULL:
        for i in range(rows):
            for j in range(vectors):
                sums[i][j] = v_load(start + j * LANES)
    else:
        for i in range(rows):
            for j in range(vectors):
                sums[i][j] = v_set(0)
    for k in range(depth):  # no-cython-lint
        if asks:
            v_prefetch(line)
            line += distance
        for j in range(vectors):
            b_values[j] = v_load(b + j * LANES)
        for i in range(rows):
            a_value = a[i * a_row]
            for j in range(vectors):
                sums[i][j] += a_value * b_values[j]
        a += a_depth
        b += b_depth
    if last_lanes == LANES:
        for i in range(rows):
            for j in range(vectors):
                v_store(c + i * c_row + j * LANES, sums[i][j])
    else:
        for i in range(rows):
            for j in range(vectors - 1):
                v_store(c + i * c_row + j * LANES, sums[i][j])
            v_store_first(c + i * c_row + (vectors - 1) * LANES, sums[i][vectors - 1], last_lanes)


cdef inline void tile_column(
    const int vectors, const bint in_strips, Py_ssize_t rows, const Py_ssize_t depth,
    const real* a, const Py_ssize_t a_row, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_depth,
    real* c, const Py_ssize_t c_row,
    const real* start, const bint accumulate, const Py_ssize_t last_lanes,
) noexcept nogil:
    """All rows of a panel of `vectors` vectors (a literal), by tiles of TILE_ROWS, then 4, 2, 1."""
    while rows >= TILE_ROWS:
        tile(TILE_ROWS, vectors, in_strips, depth, a, a_row, a_depth, b, b_depth, c, c_row,
             start, accumulate, last_lanes)
        rows -= TILE_ROWS
        a += TILE_ROWS * (depth if in_strips else a_row)
        c += TILE_ROWS * c_row
    if rows >= 4:
        tile(4, vectors, in_strips, depth, a, a_row, a_depth, b, b_depth, c, c_row,
             start, accumulate, last_lanes)
        rows -= 4
        a += 4 * a_row
        c += 4 * c_row
    if rows >= 2:
        tile(2, vectors, in_strips, depth, a, a_row, a_depth, b, b_depth, c, c_row,
             start, accumulate, last_lanes)
        rows -= 2
        a += 2 * a_row
        c += 2 * c_row
    if rows >= 1:
        tile(1, vectors, in_strips, depth, a, a_row, a_depth, b, b_depth, c, c_row,
             start, accumulate, last_lanes)


cdef inline void panel_product(
    const Py_ssize_t vectors, const bint in_strips, const Py_ssize_t rows, const Py_ssize_t depth,
    const real* a, const Py_ssize_t a_row, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_depth,
    real* c, const Py_ssize_t c_row,
    const real* start, const bint accumulate, const Py_ssize_t last_lanes,
) noexcept nogil:
    """A panel of any width. Where A is `in_strips` (a literal), so are its strides 1 and TILE_ROWS."""
    if vectors == 1:
        tile_column(1, in_strips, rows, depth, a, a_row, a_depth, b, b_depth, c, c_row,
                    start, accumulate, last_lanes)
    elif vectors == 2:
        tile_column(2, in_strips, rows, depth, a, a_row, a_depth, b, b_depth, c, c_row,
                    start, accumulate, last_lanes)
    elif TILE_VECTORS >= 3 and vectors == 3:
        tile_column(3, in_strips, rows, depth, a, a_row, a_depth, b, b_depth, c, c_row,
                    start, accumulate, last_lanes)
    elif TILE_VECTORS >= 4 and vectors == 4:
        tile_column(4, in_strips, rows, depth, a, a_row, a_depth, b, b_depth, c, c_row,
                    start, accumulate, last_lanes)


cdef inline void row_product(
    const Py_ssize_t vectors, const Py_ssize_t depth, const real* a, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_depth, real* c, const real* start, const Py_ssize_t last_lanes,
) noexcept nogil:
    """c (1, at most ROW_VECTORS vectors) = a (1, depth) @ b + start"""
    if vectors == 8:
        tile(1, 8, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)
    elif vectors == 7:
        tile(1, 7, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)
    elif vectors == 6:
        tile(1, 6, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)
    elif vectors == 5:
        tile(1, 5, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)
    elif vectors == 4:
        tile(1, 4, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)
    elif vectors == 3:
        tile(1, 3, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)
    elif vectors == 2:
        tile(1, 2, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)
    else:
        tile(1, 1, False, depth, a, 0, a_depth, b, b_depth, c, 0, start, False, last_lanes)


cdef inline void copy_panel(
    real* packed, const real* b, const Py_ssize_t b_row, const Py_ssize_t depth, const Py_ssize_t vectors,
) noexcept nogil:
    """packed (depth, vectors * LANES) = b (depth, the same)."""
    cdef Py_ssize_t k, j
    for k in range(depth):
        for j in range(vectors):
            v_store(packed + (k * vectors + j) * LANES, v_load(b + k * b_row + j * LANES))


cdef inline void transpose_square(vreal* rows) noexcept nogil:
    """LANES vectors of LANES lanes, transposed in registers by log2(LANES) perfect shuffles."""
    cdef vreal shuffled[16]
    cdef int i, half
    half = LANES
    while half > 1:
        for i in range(LANES // 2):
            shuffled[2 * i] = v_interleave_low(rows[i], rows[i + LANES // 2])
            shuffled[2 * i + 1] = v_interleave_high(rows[i], rows[i + LANES // 2])
        for i in range(LANES):
            rows[i] = shuffled[i]
        half = half // 2


cdef inline void transpose_panel(
    real* packed, const real* b, const Py_ssize_t b_row,
    const Py_ssize_t depth, const Py_ssize_t columns, const Py_ssize_t vectors,
) noexcept nogil:
    """packed (depth, vectors * LANES) = the transpose of b (columns, depth), zeros beyond `columns`."""
    cdef vreal square[16]
    cdef Py_ssize_t i, j, k, block, here, left
    for j in range(vectors):
        here = columns - j * LANES
        if here > LANES:
            here = LANES
        for block in range((depth + LANES - 1) // LANES):
            k = block * LANES
            left = depth - k
            if left >= LANES:
                for i in range(here):
                    square[i] = v_load(b + (j * LANES + i) * b_row + k)
            else:
                for i in range(here):
                    square[i] = v_load_first(b + (j * LANES + i) * b_row + k, left)
            for i in range(here, LANES):
                square[i] = v_set(0)
            transpose_square(square)
            for i in range(LANES if left >= LANES else left):
                v_store(packed + ((k + i) * vectors + j) * LANES, square[i])


cdef inline Py_ssize_t panel_count(const Py_ssize_t columns) noexcept nogil:
    return (columns + TILE_VECTORS * LANES - 1) // (TILE_VECTORS * LANES)


cdef inline Py_ssize_t row_panel_count(const Py_ssize_t columns) noexcept nogil:
    """Of a single row, whose panels are wider and read in place."""
    return (columns + ROW_VECTORS * LANES - 1) // (ROW_VECTORS * LANES)


cdef inline void panel_bounds(
    const Py_ssize_t panel, const Py_ssize_t panels, const Py_ssize_t columns,
    Py_ssize_t* first_column, Py_ssize_t* vectors, Py_ssize_t* last_lanes,
) noexcept nogil:
    """Panels of equal width but for one vector: 100 columns are 3 + 2 + 2 vectors, not 3 + 3 + 1."""
    cdef Py_ssize_t all_vectors = (columns + LANES - 1) // LANES
    cdef Py_ssize_t first = (panel * all_vectors + panels - 1) // panels
    cdef Py_ssize_t last = ((panel + 1) * all_vectors + panels - 1) // panels
    first_column[0] = first * LANES
    vectors[0] = last - first
    last_lanes[0] = LANES if last * LANES <= columns else columns - (last - 1) * LANES


cdef inline Py_ssize_t block_start(Py_ssize_t block, Py_ssize_t blocks, Py_ssize_t rows) noexcept nogil:
    """Blocks end at whole tiles, so that all but the last are made of full ones."""
    cdef Py_ssize_t tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    return min(rows, block * tiles // blocks * TILE_ROWS)


cdef inline void product_block(
    const Py_ssize_t panel, const Py_ssize_t panels, const Py_ssize_t columns,
    const Py_ssize_t rows, const Py_ssize_t depth,
    const real* a, const Py_ssize_t a_row, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_row, const bint b_transposed,
    real* c, const Py_ssize_t c_row, const real* start, const bint accumulate, real* packed,
) noexcept nogil:
    """Panel `panel` of c (rows, columns) = a (rows, depth) @ b (depth, columns) + start (columns,).

    Plus c itself if `accumulate`, without `start` then. b is (columns, depth) if `b_transposed`.
    `packed` has room for DEPTH_BLOCK rows of a panel.
    """
    cdef Py_ssize_t first, vectors, last_lanes, blocks, block, k, k_end
    panel_bounds(panel, panels, columns, &first, &vectors, &last_lanes)
    c += first
    if start != NULL:
        start += first
    if not b_transposed and rows == 1 and not accumulate:
        row_product(vectors, depth, a, a_depth, b + first, b_row, c, start, last_lanes)
        return
    if (not b_transposed and rows < ROWS_WORTH_PACKING
            and depth * b_row <= SECOND_CACHE_ELEMENTS):
        panel_product(vectors, False, rows, depth, a, a_row, a_depth, b + first, b_row, c, c_row,
                      start, accumulate, last_lanes)
        return
    blocks = (depth + DEPTH_BLOCK - 1) // DEPTH_BLOCK
    for block in range(blocks):
        k = block * depth // blocks
        k_end = (block + 1) * depth // blocks
        if b_transposed:
            transpose_panel(packed, b + first * b_row + k, b_row, k_end - k,
                            columns - first if columns - first < vectors * LANES else vectors * LANES,
                            vectors)
        else:
            copy_panel(packed, b + k * b_row + first, b_row, k_end - k, vectors)
        panel_product(vectors, False, rows, k_end - k, a + k * a_depth, a_row, a_depth,
                      packed, vectors * LANES, c, c_row,
                      start if block == 0 else NULL, accumulate or block > 0, last_lanes)


cdef inline void copy_strips(
    real* strips, const real* a, const Py_ssize_t a_depth, const Py_ssize_t rows, const Py_ssize_t depth,
) noexcept nogil:
    """strips (rows / TILE_ROWS, depth, TILE_ROWS) = a (depth, rows), anything beyond `rows`."""
    cdef Py_ssize_t row = 0, k, i
    while row < rows:
        if row + TILE_ROWS <= rows:
            for k in range(depth):
                memcpy(strips + k * TILE_ROWS, a + row + k * a_depth, TILE_ROWS * sizeof(real))
        else:
            for k in range(depth):
                for i in range(rows - row):
                    strips[k * TILE_ROWS + i] = a[row + i + k * a_depth]
        strips += depth * TILE_ROWS
        row += TILE_ROWS


cdef inline void strips_product(
    const Py_ssize_t panel, const Py_ssize_t panels, const Py_ssize_t columns,
    const Py_ssize_t rows, const Py_ssize_t depth, const real* strips,
    const real* b, const Py_ssize_t b_row, real* c, const Py_ssize_t c_row, const bint accumulate,
    real* packed,
) noexcept nogil:
    """As product_block, from A in strips; plus c itself if `accumulate`.

    `packed` has room for `depth` rows of a panel.
    """
    cdef Py_ssize_t first, vectors, last_lanes
    panel_bounds(panel, panels, columns, &first, &vectors, &last_lanes)
    copy_panel(packed, b + first, b_row, depth, vectors)
    panel_product(vectors, True, rows, depth, strips, 1, TILE_ROWS, packed, vectors * LANES,
                  c + first, c_row, NULL, accumulate, last_lanes)
