"""Winograd's transforms of whole tiles: between images, channels-last, and 36 planes.

    image (height, width, channels)             plane p of 36: (tiles, channels)

    ┌──────────┐  6 x 6 pixels, all channels     p = 0  ▏ row of the tile ▕
    │ ▒▒▒▒     │ ─────────────────────────────▶  p = 1  ▏                 ▕
    │ ▒▒▒▒     │                                  ...
    └──────────┘                                 p = 35 ▏                 ▕

A vector holds LANES channels of a pixel. Where a tile leaves the image, or a vector the channels,
its pixels are read through pointers, those outside from a row of zeros; elsewhere at fixed
distances, which the compiler folds into the loads.
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


cdef enum:
    # Numbers that fastnn/_compiler/convolution/winograd.py has too.
    UNIT = 16                  # channels of a plane, on every instruction set
    GROUP_TILES = 24           # whole register tiles, of 8 rows or of 6
    # A line more than the tiles take, so that the planes of a tile lie in different sets of the cache.
    PLANE = 25 * UNIT
    UNIT_PLANES = 37 * PLANE


cdef inline Py_ssize_t channel_at(const Py_ssize_t channel) noexcept nogil:
    """From the first channel's element of a tile to that of another, in the same plane."""
    return channel // UNIT * UNIT_PLANES + channel % UNIT


cdef inline void row_pointers(
    const real** rows, const int side, const real* image, const Py_ssize_t top,
    const Py_ssize_t left, const Py_ssize_t height, const Py_ssize_t width,
    const Py_ssize_t channels, const real* zeros,
) noexcept nogil:
    """rows (side,): where each row of a tile's pixels begins; one outside of the image is zeros."""
    cdef int i
    for i in range(side):
        rows[i] = zeros
        if top + i >= 0 and top + i < height:
            rows[i] = image + ((top + i) * width + left) * channels


cdef inline vreal pixel(
    const bint whole, const real* p, const Py_ssize_t lanes,
) noexcept nogil:
    return v_load(p) if whole else v_load_first(p, lanes)


cdef inline void input_vector(
    const bint whole, real* v, const real* const* rows, const Py_ssize_t channels,
    const Py_ssize_t first_column, const Py_ssize_t last_column, const Py_ssize_t channel,
    const Py_ssize_t lanes,
) noexcept nogil:
    """LANES channels: v (36 planes) = B^T pixels (6, 6) B; columns outside of the image are zeros"""
    cdef vreal columns[36]
    cdef vreal outputs[6]
    cdef Py_ssize_t at
    cdef int i, j
    for j in range(POINTS):
        at = j * channels + channel
        if j >= first_column and j < last_column:
            input_transform(
                columns + j, POINTS,
                pixel(whole, rows[0] + at, lanes), pixel(whole, rows[1] + at, lanes),
                pixel(whole, rows[2] + at, lanes), pixel(whole, rows[3] + at, lanes),
                pixel(whole, rows[4] + at, lanes), pixel(whole, rows[5] + at, lanes))
        else:
            for i in range(POINTS):
                columns[i * POINTS + j] = v_set(0)
    for i in range(POINTS):
        input_transform(outputs, 1, columns[6 * i], columns[6 * i + 1], columns[6 * i + 2],
                        columns[6 * i + 3], columns[6 * i + 4], columns[6 * i + 5])
        for j in range(POINTS):
            v_store(v + (i * POINTS + j) * PLANE, outputs[j])


cdef inline void input_tile(
    real* v,                            # the tile's place in the first plane
    const real* image,                  # (height, width, channels)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t channels,
    const real* zeros,                  # of POINTS pixels
) noexcept nogil:
    """v = B^T x B of the 6 x 6 pixels from (top, left), which may lie outside of the image"""
    cdef const real* rows[6]
    cdef Py_ssize_t channel = 0
    cdef Py_ssize_t first = -left, last = width - left
    row_pointers(rows, POINTS, image, top, left, height, width, channels, zeros)
    while channel + LANES <= channels:
        input_vector(True, v + channel_at(channel), rows, channels, first, last, channel, LANES)
        channel += LANES
    if channel < channels:
        input_vector(False, v + channel_at(channel), rows, channels, first, last, channel,
                     channels - channel)


cdef inline void output_vector(
    const int taps, const bint whole,
    real* y, const Py_ssize_t row, const Py_ssize_t pixel,
    const real* m, const Py_ssize_t plane, vreal bias,
    const Py_ssize_t rows, const Py_ssize_t columns, const Py_ssize_t lanes,
) noexcept nogil:
    """LANES filters of a tile, all its pixels if `whole`, else (rows, columns) of `lanes` filters.

    `plane` is a literal where it is called.
    """
    cdef vreal along[24]
    cdef vreal outputs[4]
    cdef int i, j
    for j in range(POINTS):
        output_transform(taps, along + j, POINTS, v_load(m + j * plane), v_load(m + (6 + j) * plane),
                         v_load(m + (12 + j) * plane), v_load(m + (18 + j) * plane),
                         v_load(m + (24 + j) * plane), v_load(m + (30 + j) * plane))
    for i in range(7 - taps):
        output_transform(taps, outputs, 1, along[6 * i], along[6 * i + 1], along[6 * i + 2],
                         along[6 * i + 3], along[6 * i + 4], along[6 * i + 5])
        for j in range(7 - taps):
            if whole:
                v_store(y + i * row + j * pixel, outputs[j] + bias)
            elif i < rows and j < columns:
                v_store_first(y + i * row + j * pixel, outputs[j] + bias, lanes)


cdef inline void output_tile(
    const int taps,
    real* y, const Py_ssize_t row,      # first pixel; elements from a row of pixels to the next
    const Py_ssize_t filters,
    const real* m,                      # the tile's place in the first plane
    const real* bias,                   # (filters,) or NULL
    const Py_ssize_t rows, const Py_ssize_t columns,
) noexcept nogil:
    """y = A^T m A + bias: the tile's (rows, columns) pixels that lie in the image"""
    cdef Py_ssize_t first = 0, lanes
    cdef vreal start = v_set(0)
    if rows >= 7 - taps and columns >= 7 - taps:
        while first + LANES <= filters:
            if bias != NULL:
                start = v_load(bias + first)
            output_vector(taps, True, y + first, row, filters, m + channel_at(first), PLANE, start,
                          0, 0, LANES)
            first += LANES
    while first < filters:
        lanes = filters - first if filters - first < LANES else LANES
        if bias != NULL:
            start = v_load_first(bias + first, lanes)
        output_vector(taps, False, y + first, row, filters, m + channel_at(first), PLANE, start,
                      rows, columns, lanes)
        first += LANES


cdef inline void output_gradient_vector(
    const int taps, const bint whole, real* d, const real* const* rows, const Py_ssize_t filters,
    const Py_ssize_t columns, const Py_ssize_t first, const Py_ssize_t lanes,
) noexcept nogil:
    """LANES filters: d (36 planes) = A pixels (7 - taps, the same) A^T, zeros from `columns` on"""
    cdef vreal pixels[16]
    cdef vreal along[24]
    cdef vreal outputs[6]
    cdef int side = 7 - taps
    cdef int i, j
    for j in range(7 - taps):
        for i in range(7 - taps):
            pixels[i * 4 + j] = v_set(0)
            if j < columns:
                pixels[i * 4 + j] = pixel(whole, rows[i] + j * filters + first, lanes)
        if taps == 3:
            output_gradient_transform(taps, along + j, side, pixels[j], pixels[4 + j],
                                      pixels[8 + j], pixels[12 + j])
        else:
            output_gradient_transform(taps, along + j, side, pixels[j], pixels[4 + j],
                                      pixels[j], pixels[j])
    for i in range(POINTS):
        if taps == 3:
            output_gradient_transform(taps, outputs, 1, along[4 * i], along[4 * i + 1],
                                      along[4 * i + 2], along[4 * i + 3])
        else:
            output_gradient_transform(taps, outputs, 1, along[2 * i], along[2 * i + 1],
                                      along[2 * i], along[2 * i])
        for j in range(POINTS):
            v_store(d + (i * POINTS + j) * PLANE, outputs[j])


cdef inline void output_gradient_tile(
    const int taps,
    real* d,                            # the tile's place in the first plane
    const real* image,                  # (height, width, filters)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t filters,
    const real* zeros,                  # of a tile's row of pixels
) noexcept nogil:
    """d = A dy A^T of a tile of the gradient; pixels below and right of the image count as zero"""
    cdef const real* rows[4]
    cdef Py_ssize_t first = 0
    row_pointers(rows, 7 - taps, image, top, left, height, width, filters, zeros)
    while first + LANES <= filters:
        output_gradient_vector(taps, True, d + channel_at(first), rows, filters, width - left, first,
                               LANES)
        first += LANES
    if first < filters:
        output_gradient_vector(taps, False, d + channel_at(first), rows, filters, width - left,
                               first, filters - first)


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
