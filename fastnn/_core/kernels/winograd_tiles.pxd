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


cdef inline void fill_pointers(
    const real** pixels, const int side, const real* image,
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t channels, const real* zeros,
) noexcept nogil:
    """pixels (side, side): where each pixel of a tile lies; those outside of the image are zeros."""
    cdef Py_ssize_t i, j, row, column
    for i in range(side):
        row = top + i
        for j in range(side):
            column = left + j
            if row < 0 or row >= height or column < 0 or column >= width:
                pixels[i * side + j] = zeros
            else:
                pixels[i * side + j] = image + (row * width + column) * channels


cdef inline vreal pixel(
    const bint inside, const bint whole, const real* corner, const Py_ssize_t distance,
    const real* const* pointers, const int index, const Py_ssize_t channel, const Py_ssize_t lanes,
) noexcept nogil:
    """LANES channels of a pixel of a tile, at a distance from its corner or through its pointer."""
    if inside:
        return v_load(corner + distance + channel)
    if whole:
        return v_load(pointers[index] + channel)
    return v_load_first(pointers[index] + channel, lanes)


cdef inline void input_vector(
    const bint inside, const bint whole, real* v, const Py_ssize_t plane,
    const real* corner, const Py_ssize_t row, const Py_ssize_t column,
    const real* const* pointers, const Py_ssize_t channel, const Py_ssize_t lanes,
) noexcept nogil:
    """LANES channels: v (36 planes) = B^T pixels (6, 6) B"""
    cdef vreal columns[36]
    cdef vreal outputs[6]
    cdef int i, j
    for j in range(POINTS):
        input_transform(
            columns + j, POINTS,
            pixel(inside, whole, corner, j * column, pointers, j, channel, lanes),
            pixel(inside, whole, corner, row + j * column, pointers, 6 + j, channel, lanes),
            pixel(inside, whole, corner, 2 * row + j * column, pointers, 12 + j, channel, lanes),
            pixel(inside, whole, corner, 3 * row + j * column, pointers, 18 + j, channel, lanes),
            pixel(inside, whole, corner, 4 * row + j * column, pointers, 24 + j, channel, lanes),
            pixel(inside, whole, corner, 5 * row + j * column, pointers, 30 + j, channel, lanes))
    for i in range(POINTS):
        input_transform(outputs, 1, columns[6 * i], columns[6 * i + 1], columns[6 * i + 2],
                        columns[6 * i + 3], columns[6 * i + 4], columns[6 * i + 5])
        for j in range(POINTS):
            v_store(v + channel + (i * POINTS + j) * plane, outputs[j])


cdef inline void input_tile(
    real* v, const Py_ssize_t plane,    # 36 planes, each `channels` up to a whole vector
    const real* image,                  # (height, width, channels)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t channels, const real* zeros,
) noexcept nogil:
    """v = B^T x B of the 6 x 6 pixels from (top, left), which may lie outside of the image"""
    cdef const real* pointers[36]
    cdef const real* corner = image + (top * width + left) * channels
    cdef Py_ssize_t row = width * channels
    cdef Py_ssize_t channel = 0
    if top >= 0 and left >= 0 and top + POINTS <= height and left + POINTS <= width:
        while channel + LANES <= channels:
            input_vector(True, True, v, plane, corner, row, channels, pointers, channel, LANES)
            channel += LANES
        if channel == channels:
            return
    fill_pointers(pointers, POINTS, image, top, left, height, width, channels, zeros)
    while channel + LANES <= channels:
        input_vector(False, True, v, plane, corner, row, channels, pointers, channel, LANES)
        channel += LANES
    if channel < channels:
        input_vector(False, False, v, plane, corner, row, channels, pointers, channel,
                     channels - channel)


cdef inline void output_vector(
    const int taps, const bint whole,
    real* y, const Py_ssize_t row, const Py_ssize_t pixel,
    const real* m, const Py_ssize_t plane, vreal bias,
    const Py_ssize_t rows, const Py_ssize_t columns, const Py_ssize_t lanes,
) noexcept nogil:
    """LANES filters of a tile, all its pixels if `whole`, else (rows, columns) of `lanes` filters."""
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
    const real* m, const Py_ssize_t plane,
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
            output_vector(taps, True, y + first, row, filters, m + first, plane, start, 0, 0, LANES)
            first += LANES
    while first < filters:
        lanes = filters - first if filters - first < LANES else LANES
        if bias != NULL:
            start = v_load_first(bias + first, lanes)
        output_vector(taps, False, y + first, row, filters, m + first, plane, start,
                      rows, columns, lanes)
        first += LANES


cdef inline void output_gradient_vector(
    const int taps, vreal* pixels, real* d, const Py_ssize_t plane,
) noexcept nogil:
    """LANES filters: d (36 planes) = A pixels (7 - taps, the same) A^T"""
    cdef vreal columns[24]
    cdef vreal row[6]
    cdef int side = 7 - taps
    cdef int i, j
    for j in range(7 - taps):
        if taps == 3:
            output_gradient_transform(taps, columns + j, side, pixels[j], pixels[4 + j],
                                      pixels[8 + j], pixels[12 + j])
        else:
            output_gradient_transform(taps, columns + j, side, pixels[j], pixels[2 + j],
                                      pixels[j], pixels[j])
    for i in range(POINTS):
        if taps == 3:
            output_gradient_transform(taps, row, 1, columns[4 * i], columns[4 * i + 1],
                                      columns[4 * i + 2], columns[4 * i + 3])
        else:
            output_gradient_transform(taps, row, 1, columns[2 * i], columns[2 * i + 1],
                                      columns[2 * i], columns[2 * i])
        for j in range(POINTS):
            v_store(d + (i * POINTS + j) * plane, row[j])


cdef inline void output_gradient_tile(
    const int taps,
    real* d, const Py_ssize_t plane,    # 36 planes, each `filters` up to a whole vector
    const real* image,                  # (height, width, filters)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t filters, const real* zeros,
) noexcept nogil:
    """d = A dy A^T of a tile of the gradient; pixels below and right of the image count as zero"""
    cdef const real* pointers[16]
    cdef vreal pixels[16]
    cdef Py_ssize_t first = 0
    cdef int i
    fill_pointers(pointers, 7 - taps, image, top, left, height, width, filters, zeros)
    while first + LANES <= filters:
        for i in range((7 - taps) * (7 - taps)):
            pixels[i] = v_load(pointers[i] + first)
        output_gradient_vector(taps, pixels, d + first, plane)
        first += LANES
    if first < filters:
        for i in range((7 - taps) * (7 - taps)):
            pixels[i] = v_load_first(pointers[i] + first, filters - first)
        output_gradient_vector(taps, pixels, d + first, plane)


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
