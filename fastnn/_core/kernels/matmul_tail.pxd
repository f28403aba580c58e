"""The last few columns of a matrix product, as dot products along the depth.

    C (rows, 100) = A (rows, depth) @ B (depth, 100):   six whole vectors, and 4 columns

A vector for these 4 columns would cost as much as the 16 of any other: an eighth of the time at a
width of 100. Along the depth all lanes are of use: LANES // 4 rows by 4 columns make LANES sums, which
a transpose in registers adds up.

A is read exactly, not beyond its rows. Each sum runs in an order that the depth alone fixes.
"""

from fastnn._core.kernels.matmul cimport transpose_square
from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_set, v_store, vreal

cdef enum:
    TAIL_COLUMNS = 4
    # Fewer rows are not worth the packing, fewer whole vectors leave only tiles that wait for loads
    # (20 columns are faster as two vectors), a shorter depth is not worth the sums over lanes, and
    # packed columns of a longer one would leave the first-level cache.
    LEAST_TAIL_ROWS = 128
    LEAST_WHOLE_VECTORS = 4
    LEAST_TAIL_DEPTH = 128
    MOST_TAIL_DEPTH = 2048


cdef inline Py_ssize_t tail_of(
    const Py_ssize_t rows, const Py_ssize_t columns, const Py_ssize_t depth,
) noexcept nogil:
    """How many of the columns to compute so: 0 where whole vectors are better."""
    cdef Py_ssize_t tail = columns % LANES
    if (LANES < 4 * TAIL_COLUMNS or tail > TAIL_COLUMNS
            or columns < LEAST_WHOLE_VECTORS * LANES or rows < LEAST_TAIL_ROWS
            or depth < LEAST_TAIL_DEPTH or depth > MOST_TAIL_DEPTH):
        return 0
    return tail


cdef inline void pack_tail(
    real* packed, const real* b, const Py_ssize_t b_row, const bint b_transposed,
    const Py_ssize_t first, const Py_ssize_t columns, const Py_ssize_t depth, const Py_ssize_t wide,
) noexcept nogil:
    """packed (4, wide) = columns `first`, `first + 1`, ... of b (depth, ...), zeros beyond them"""
    cdef Py_ssize_t k, j
    for j in range(TAIL_COLUMNS):
        for k in range(wide):
            if j >= columns or k >= depth:
                packed[j * wide + k] = 0
            elif b_transposed:
                packed[j * wide + k] = b[(first + j) * b_row + k]
            else:
                packed[j * wide + k] = b[k * b_row + first + j]


cdef inline void tail_tile(
    real* c, const Py_ssize_t c_row,
    const real* a, const Py_ssize_t a_row,
    const real* packed, const Py_ssize_t wide, const real* start,
    const Py_ssize_t rows, const Py_ssize_t columns, const Py_ssize_t depth,
) noexcept nogil:
    """c (rows, columns) = a (rows, depth) @ packed^T + start (columns,), up to LANES // 4 rows"""
    cdef vreal sums[16]
    cdef vreal b_values[4]
    cdef vreal a_value
    cdef const real* a_rows[4]
    cdef real totals[16]
    cdef Py_ssize_t k = 0, half
    cdef int i, j
    for i in range(LANES // TAIL_COLUMNS):
        a_rows[i] = a + min(i, rows - 1) * a_row
    for i in range(LANES):
        sums[i] = v_set(0)
    while k + LANES <= depth:  # no-cython-lint
        for j in range(TAIL_COLUMNS):
            b_values[j] = v_load(packed + j * wide + k)
        for i in range(LANES // TAIL_COLUMNS):
            a_value = v_load(a_rows[i] + k)
            for j in range(TAIL_COLUMNS):
                sums[i * TAIL_COLUMNS + j] += a_value * b_values[j]
        k += LANES
    if k < depth:
        for i in range(LANES // TAIL_COLUMNS):
            a_value = v_load_first(a_rows[i] + k, depth - k)
            for j in range(TAIL_COLUMNS):
                sums[i * TAIL_COLUMNS + j] += a_value * v_load(packed + j * wide + k)
    # Lane i of the sum of the transposed vectors is the sum over the lanes of vector i.
    transpose_square(sums)
    half = LANES // 2
    while half > 0:
        for i in range(half):
            sums[i] += sums[i + half]
        half = half // 2
    v_store(totals, sums[0])
    for i in range(rows):
        for j in range(columns):
            c[i * c_row + j] = totals[i * TAIL_COLUMNS + j] + (start[j] if start != NULL else 0)


cdef inline void tail_product(
    real* c, const Py_ssize_t c_row,
    const real* a, const Py_ssize_t a_row,
    const real* b, const Py_ssize_t b_row, const bint b_transposed, const real* start,
    const Py_ssize_t rows, const Py_ssize_t first, const Py_ssize_t columns, const Py_ssize_t depth,
    real* packed,
) noexcept nogil:
    """Columns `first` up to `first + columns` of c (rows, ...) = a (rows, depth) @ b + start"""
    cdef Py_ssize_t wide = (depth + LANES - 1) // LANES * LANES, row = 0
    pack_tail(packed, b, b_row, b_transposed, first, columns, depth, wide)
    while row < rows:
        tail_tile(c + row * c_row + first, c_row, a + row * a_row, a_row, packed, wide,
                  start + first if start != NULL else NULL,
                  min(<Py_ssize_t>(LANES // TAIL_COLUMNS), rows - row), columns, depth)
        row += LANES // TAIL_COLUMNS
