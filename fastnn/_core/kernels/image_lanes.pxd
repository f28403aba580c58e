"""Images in the lanes of vectors: a vector holds one element of LANES images.

    LANES images, channels-last            lanes (elements of an image, LANES)

    image 0  a b c d ...                   a0 a1 a2 ... ◀ one vector
    image 1  a b c d ...   ◀──────────▶    b0 b1 b2 ...
    ...                                    ...

Where channels fill no whole vectors (20, 50), images do: a channels-last image in this form has all
its channels in whole vectors, LANES times as many, and no lane computes a thing that nobody reads. A
product's matrix is then weights, of which single elements are broadcast, times such vectors.
"""

from fastnn._core.kernels.matmul cimport transpose_panel, transpose_square
from fastnn._core.simd cimport (
    LANES,
    TILE_VECTORS,
    real,
    v_load,
    v_set,
    v_store,
    v_store_first,
    vreal,
)


cdef enum:
    # Sums of a register tile, beside which a vector of each tile of Winograd's is in a register: 28 of
    # 32, or with half as many tiles 14 of 16.
    MOST_HEIGHT = 6
    MOST_TILES = 4


cdef inline Py_ssize_t tiles_of_registers() noexcept nogil:
    return MOST_TILES if TILE_VECTORS >= 3 else MOST_TILES // 2


cdef inline void into_lanes(
    real* lanes,         # (elements, LANES), zeros for images beyond `images`
    const real* x,       # (images, elements), `image` elements from one to the next
    const Py_ssize_t image, const Py_ssize_t elements, const Py_ssize_t images,
) noexcept nogil:
    transpose_panel(lanes, x, image, elements, images, 1)


cdef inline void out_of_lanes(
    real* y,             # (images, elements), `image` elements from one to the next
    const real* lanes,   # (elements, LANES)
    const Py_ssize_t image, const Py_ssize_t elements, const Py_ssize_t images,
) noexcept nogil:
    cdef vreal square[16]
    cdef Py_ssize_t element = 0, i, here
    while element < elements:
        here = elements - element
        if here > LANES:
            here = LANES
        if here == LANES:
            for i in range(LANES):
                square[i] = v_load(lanes + (element + i) * LANES)
        else:
            for i in range(LANES):
                square[i] = v_load(lanes + (element + i) * LANES) if i < here else v_set(0)
        transpose_square(square)
        if here == LANES and images == LANES:
            for i in range(LANES):
                v_store(y + i * image + element, square[i])
        else:
            for i in range(images):
                v_store_first(y + i * image + element, square[i], here)
        element += LANES


cdef inline void lanes_tile(
    const int rows, const int vectors, const Py_ssize_t depth,
    const real* a, const Py_ssize_t a_row, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_vector, real* c, const Py_ssize_t c_vector,
) noexcept nogil:
    """c (vectors, rows, LANES) = a (rows, depth) @ b (vectors, depth, LANES); literals as in matmul."""
    cdef vreal sums[6][4]
    cdef vreal b_values[4]
    cdef real a_value
    cdef int i, j
    cdef Py_ssize_t k
    for i in range(rows):
        for j in range(vectors):
            sums[i][j] = v_set(0)
    for k in range(depth):  # no-cython-lint
        for j in range(vectors):
            b_values[j] = v_load(b + j * b_vector)
        for i in range(rows):
            a_value = a[i * a_row]
            for j in range(vectors):
                sums[i][j] += a_value * b_values[j]
        a += a_depth
        b += LANES
    for i in range(rows):
        for j in range(vectors):
            v_store(c + j * c_vector + i * LANES, sums[i][j])


cdef inline void lanes_rows(
    const int vectors, const Py_ssize_t rows, const Py_ssize_t depth,
    const real* a, const Py_ssize_t a_row, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_vector, real* c, const Py_ssize_t c_vector,
) noexcept nogil:
    """All rows, by tiles of nearly the same height: 50 are 6 + 5 + 6 + 5 + ..."""
    cdef Py_ssize_t tile, tiles = (rows + MOST_HEIGHT - 1) // MOST_HEIGHT, height
    for tile in range(tiles):
        height = (tile + 1) * rows // tiles - tile * rows // tiles
        if height == 6:
            lanes_tile(6, vectors, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
        elif height == 5:
            lanes_tile(5, vectors, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
        elif height == 4:
            lanes_tile(4, vectors, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
        elif height == 3:
            lanes_tile(3, vectors, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
        elif height == 2:
            lanes_tile(2, vectors, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
        else:
            lanes_tile(1, vectors, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
        a += height * a_row
        c += height * LANES


cdef inline void lanes_product(
    const Py_ssize_t vectors, const Py_ssize_t rows, const Py_ssize_t depth,
    const real* a, const Py_ssize_t a_row, const Py_ssize_t a_depth,
    const real* b, const Py_ssize_t b_vector, real* c, const Py_ssize_t c_vector,
) noexcept nogil:
    """Up to tiles_of_registers() vectors. To be called at one place of a file: all tiles are unrolled there."""
    if vectors == 1:
        lanes_rows(1, rows, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
    elif vectors == 2:
        lanes_rows(2, rows, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
    elif TILE_VECTORS >= 3 and vectors == 3:
        lanes_rows(3, rows, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
    elif TILE_VECTORS >= 3 and vectors == 4:
        lanes_rows(4, rows, depth, a, a_row, a_depth, b, b_vector, c, c_vector)
