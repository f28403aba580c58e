"""Winograd's transforms of whole tiles: between images, channels-last, and 36 planes.

    image (height, width, channels)             plane p of 36: (tiles, channels)

    ┌──────────┐  6 x 6 pixels, all channels     p = 0  ▏ row of the tile ▕
    │ ▒▒▒▒     │ ─────────────────────────────▶  p = 1  ▏                 ▕
    │ ▒▒▒▒     │                                  ...
    └──────────┘                                 p = 35 ▏                 ▕

A vector holds LANES channels of a pixel. Rows of a tile that lie outside of the image are read from
a row of zeros, columns outside are zeros already after the first of both transforms.

A transform goes through memory between its two directions. Each direction is a loop, by pointers
so that the compiler leaves it one: unrolled it would keep the addresses of 36 pixels and 36 planes,
and with few channels spend longer on them than on the arithmetic.
"""

from fastnn._core.kernels.winograd_transforms cimport (
    POINTS,
    PRODUCTS,
    input_transform,
    output_gradient_transform,
    output_transform,
    weight_gradient_transform,
    weight_transform,
)
from fastnn._core.simd cimport (
    LANES,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    vreal,
)


cdef inline void tile_rows(
    const real** rows, Py_ssize_t* first_column, Py_ssize_t* last_column, const int side,
    const real* image, const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t channels, const real* zeros,
) noexcept nogil:
    """rows (side): where each row of a tile would begin; those outside of the image are zeros.

    Its columns from `first_column` to `last_column` lie in the image.
    """
    cdef int i
    for i in range(side):
        rows[i] = zeros
        if top + i >= 0 and top + i < height:
            rows[i] = image + ((top + i) * width + left) * channels
    first_column[0] = -left if left < 0 else 0
    last_column[0] = min(<Py_ssize_t>side, width - left)


cdef inline vreal pixel(const bint whole, const real* at, const Py_ssize_t lanes) noexcept nogil:
    """LANES channels of a pixel of a tile"""
    return v_load(at) if whole else v_load_first(at, lanes)


cdef inline void clear_columns(
    const int side, vreal* columns, const Py_ssize_t first, const Py_ssize_t last, const real* zeros,
) noexcept nogil:
    """columns (6, side): those from first to last become zeros"""
    # From memory, since the compiler would call memset for zeros that it knows.
    cdef vreal zero = v_load(zeros)
    cdef Py_ssize_t j
    cdef int i
    for j in range(first, last):
        for i in range(POINTS):
            columns[i * side + j] = zero


cdef inline void input_vector(
    const bint whole, real* v, const Py_ssize_t plane, const real* const* rows,
    const Py_ssize_t first_column, const Py_ssize_t last_column,
    const Py_ssize_t channels, const Py_ssize_t channel, const Py_ssize_t lanes, const real* zeros,
) noexcept nogil:
    """LANES channels: v (36 planes) = B^T pixels (6, 6) B"""
    cdef vreal columns[36]
    cdef const real* last_plane = v + PRODUCTS * plane
    cdef Py_ssize_t j, at = first_column * channels + channel
    clear_columns(POINTS, columns, 0, first_column, zeros)
    for j in range(first_column, last_column):
        input_transform(
            columns + j, POINTS,
            pixel(whole, rows[0] + at, lanes), pixel(whole, rows[1] + at, lanes),
            pixel(whole, rows[2] + at, lanes), pixel(whole, rows[3] + at, lanes),
            pixel(whole, rows[4] + at, lanes), pixel(whole, rows[5] + at, lanes))
        at += channels
    clear_columns(POINTS, columns, last_column, POINTS, zeros)
    cdef const vreal* row = columns
    cdef vreal outputs[6]
    while v != last_plane:
        input_transform(outputs, 1, row[0], row[1], row[2], row[3], row[4], row[5])
        for j in range(POINTS):
            v_store(v + j * plane, outputs[j])
        row += POINTS
        v += POINTS * plane


cdef inline void input_tile(
    real* v, const Py_ssize_t plane,    # 36 planes, each `channels` up to a whole vector
    const real* image,                  # (height, width, channels)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t channels, const real* zeros,
) noexcept nogil:
    """v = B^T x B of the 6 x 6 pixels from (top, left), which may lie outside of the image"""
    cdef const real* rows[6]
    cdef Py_ssize_t first, last, channel = 0
    tile_rows(rows, &first, &last, POINTS, image, top, left, height, width, channels, zeros)
    while channel + LANES <= channels:
        input_vector(True, v + channel, plane, rows, first, last, channels, channel, LANES,
                     zeros)
        channel += LANES
    if channel < channels:
        input_vector(False, v + channel, plane, rows, first, last, channels, channel,
                     channels - channel, zeros)


cdef inline void output_vector(
    const int taps, const bint whole,
    real* y, const Py_ssize_t row, const Py_ssize_t pixel,
    const real* m, const Py_ssize_t plane, vreal bias,
    const Py_ssize_t rows, const Py_ssize_t columns, const Py_ssize_t lanes,
) noexcept nogil:
    """LANES filters of a tile's (rows, columns) pixels; all columns if `whole`, else of `lanes`."""
    cdef vreal along[24]
    cdef vreal outputs[4]
    cdef const real* last_plane = m + POINTS * plane
    cdef const real* last_row = y + rows * row
    cdef vreal* to = along
    cdef const vreal* at = along
    cdef int j
    while m != last_plane:
        output_transform(taps, to, POINTS, v_load(m), v_load(m + 6 * plane), v_load(m + 12 * plane),
                         v_load(m + 18 * plane), v_load(m + 24 * plane), v_load(m + 30 * plane))
        to += 1
        m += plane
    while y != last_row:
        output_transform(taps, outputs, 1, at[0], at[1], at[2], at[3], at[4], at[5])
        for j in range(7 - taps):
            if whole:
                v_store(y + j * pixel, outputs[j] + bias)
            elif j < columns:
                v_store_first(y + j * pixel, outputs[j] + bias, lanes)
        at += POINTS
        y += row


cdef inline void output_tile(
    const int taps,
    real* y, const Py_ssize_t row,      # first pixel; elements from a row of pixels to the next
    const Py_ssize_t filters,
    const real* m, const Py_ssize_t plane,
    const real* bias,                   # (filters,) or NULL
    const Py_ssize_t rows, const Py_ssize_t columns,
) noexcept nogil:
    """y = A^T m A + bias: the tile's (rows, columns) pixels that lie in the image"""
    cdef Py_ssize_t first = 0, lanes
    cdef vreal start = v_set(0)
    if columns >= 7 - taps:
        while first + LANES <= filters:
            if bias != NULL:
                start = v_load(bias + first)
            output_vector(taps, True, y + first, row, filters, m + first, plane, start,
                          rows, columns, LANES)
            first += LANES
    while first < filters:
        lanes = filters - first if filters - first < LANES else LANES
        if bias != NULL:
            start = v_load_first(bias + first, lanes)
        output_vector(taps, False, y + first, row, filters, m + first, plane, start,
                      rows, columns, lanes)
        first += LANES


cdef inline void output_gradient_vector(
    const int taps, const bint whole, real* d, const Py_ssize_t plane, const real* const* rows,
    const Py_ssize_t last_column,
    const Py_ssize_t filters, const Py_ssize_t first, const Py_ssize_t lanes, const real* zeros,
) noexcept nogil:
    """LANES filters: d (36 planes) = A pixels (7 - taps, the same) A^T"""
    cdef vreal columns[24]
    cdef vreal outputs[6]
    cdef const vreal* row = columns
    cdef const real* last_plane = d + PRODUCTS * plane
    cdef Py_ssize_t j, at = first
    for j in range(last_column):
        if taps == 3:
            output_gradient_transform(
                taps, columns + j, 4,
                pixel(whole, rows[0] + at, lanes), pixel(whole, rows[1] + at, lanes),
                pixel(whole, rows[2] + at, lanes), pixel(whole, rows[3] + at, lanes))
        else:
            output_gradient_transform(
                taps, columns + j, 2,
                pixel(whole, rows[0] + at, lanes), pixel(whole, rows[1] + at, lanes),
                v_set(0), v_set(0))
        at += filters
    clear_columns(7 - taps, columns, last_column, 7 - taps, zeros)
    while d != last_plane:
        if taps == 3:
            output_gradient_transform(taps, outputs, 1, row[0], row[1], row[2], row[3])
        else:
            output_gradient_transform(taps, outputs, 1, row[0], row[1], row[0], row[1])
        for j in range(POINTS):
            v_store(d + j * plane, outputs[j])
        row += 7 - taps
        d += POINTS * plane


cdef inline void output_gradient_tile(
    const int taps,
    real* d, const Py_ssize_t plane,    # 36 planes, each `filters` up to a whole vector
    const real* image,                  # (height, width, filters)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t filters, const real* zeros,
) noexcept nogil:
    """d = A dy A^T of a tile of the gradient; pixels below and right of the image count as zero"""
    cdef const real* rows[4]
    cdef Py_ssize_t none, last, first = 0
    tile_rows(rows, &none, &last, 7 - taps, image, top, left, height, width, filters, zeros)
    while first + LANES <= filters:
        output_gradient_vector(taps, True, d + first, plane, rows, last, filters, first, LANES,
                               zeros)
        first += LANES
    if first < filters:
        output_gradient_vector(taps, False, d + first, plane, rows, last, filters, first,
                               filters - first, zeros)


cdef inline void weight_vector(
    const int taps, const vreal* g, real* u, const Py_ssize_t plane,
) noexcept nogil:
    """LANES weights of each tap: u (36 planes) = G g (taps, taps) G^T"""
    cdef vreal columns[30]
    cdef vreal row[6]
    cdef int i, j
    for j in range(taps):
        if taps == 3:
            weight_transform(taps, columns + j, taps, g[j], g[3 + j], g[6 + j], g[j], g[j])
        else:
            weight_transform(taps, columns + j, taps, g[j], g[5 + j], g[10 + j], g[15 + j],
                             g[20 + j])
    for i in range(POINTS):
        if taps == 3:
            weight_transform(taps, row, 1, columns[3 * i], columns[3 * i + 1], columns[3 * i + 2],
                             columns[3 * i], columns[3 * i])
        else:
            weight_transform(taps, row, 1, columns[5 * i], columns[5 * i + 1], columns[5 * i + 2],
                             columns[5 * i + 3], columns[5 * i + 4])
        for j in range(POINTS):
            v_store(u + (i * POINTS + j) * plane, row[j])


cdef inline void weight_gradient_vector(
    const int taps, real** dweight, const Py_ssize_t first, const vreal* u, const Py_ssize_t lanes,
) noexcept nogil:
    """Some weights of each tap from `first` on: dweight (taps, taps) = G^T u (6, 6) G, unless NULL"""
    cdef vreal columns[30]
    cdef vreal row[5]
    cdef int i, j
    for j in range(POINTS):
        weight_gradient_transform(taps, columns + j, POINTS, u[j], u[6 + j], u[12 + j], u[18 + j],
                                  u[24 + j], u[30 + j])
    for i in range(taps):
        weight_gradient_transform(taps, row, 1, columns[6 * i], columns[6 * i + 1],
                                  columns[6 * i + 2], columns[6 * i + 3], columns[6 * i + 4],
                                  columns[6 * i + 5])
        for j in range(taps):
            if dweight[i * taps + j] != NULL:
                v_store_first(dweight[i * taps + j] + first, row[j], lanes)
