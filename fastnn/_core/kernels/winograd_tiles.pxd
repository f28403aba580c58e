"""Winograd's transforms of whole tiles: between images, channels-last, and 36 planes.

    image (height, width, channels)             plane p of 36: (tiles, UNIT channels)

    ┌──────────┐  6 x 6 pixels, all channels     p = 0  ▏ row of the tile ▕
    │ ▒▒▒▒     │ ─────────────────────────────▶  p = 1  ▏                 ▕
    │ ▒▒▒▒     │                                  ...
    └──────────┘                                 p = 35 ▏                 ▕

    planes (groups of tiles, units of channels, 36 and one more, GROUP_TILES and one more, UNIT)

The distance from a plane to the next is a literal where a function is called, which the compiler folds
into loads and stores: a transform touches 36 planes, and 36 addresses held in variables cost as much as
its arithmetic. (conv_winograd_images.pyx, whose channels are other numbers, has planes of its own.)

A vector holds LANES channels of a pixel. A tile reads its pixels where they lie; where it leaves
the image to the left or right, or a vector leaves the channels, they are first gathered into a
patch, so that the transform stands once. Rows above and below the image are pixels of zeros.
"""

from fastnn._core.kernels.lanes cimport load_lanes
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
    v_prefetch,
    v_set,
    v_store,
    v_store_first,
    vreal,
)


cdef enum:
    UNIT = 16                  # channels of a plane, on every instruction set
    GROUP_TILES = 24           # whole register tiles, of 8 rows or of 6
    # A tile more than there are, so that the planes of a tile lie in different sets of the cache.
    PLANE = 25 * UNIT
    # A plane more, so that products can be written a plane before what they are made of.
    UNIT_PLANES = 37 * PLANE


cdef inline Py_ssize_t channel_at(
    const Py_ssize_t channel, const Py_ssize_t unit_planes,
) noexcept nogil:
    """From the first channel's element of a tile to that of another, in the same plane."""
    return channel // UNIT * unit_planes + channel % UNIT


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


cdef inline void copy_pixels(
    real* patch, const int side, const real* const* rows, const Py_ssize_t channels,
    const Py_ssize_t left, const Py_ssize_t width, const Py_ssize_t channel, const Py_ssize_t lanes,
) noexcept nogil:
    """patch (side, side, LANES): some channels of a tile; columns outside of the image are zeros."""
    cdef Py_ssize_t i, j
    cdef vreal found
    for j in range(side):
        for i in range(side):
            found = v_set(0)
            if left + j >= 0 and left + j < width:
                found = load_lanes(rows[i] + j * channels + channel, lanes)
            v_store(patch + (i * side + j) * LANES, found)


cdef inline void fetch_ahead(
    const int side, const real* corner, const Py_ssize_t row, const Py_ssize_t channels,
) noexcept nogil:
    """Asks for the pixels that the tile below will read first: a row of tiles before it does."""
    cdef int i, j
    for i in range(side):
        for j in range(side):
            v_prefetch(corner + i * row + j * channels)


cdef inline void input_vector(
    real* v, const Py_ssize_t plane, const real* row0, const real* row1, const real* row2, const real* row3,
    const real* row4, const real* row5, const Py_ssize_t channels,
) noexcept nogil:
    """LANES channels: v (36 planes) = B^T pixels (6, 6) B"""
    cdef vreal columns[36]
    cdef vreal outputs[6]
    cdef int i, j
    for j in range(POINTS):
        input_transform(columns + j, POINTS, v_load(row0 + j * channels), v_load(row1 + j * channels),
                        v_load(row2 + j * channels), v_load(row3 + j * channels),
                        v_load(row4 + j * channels), v_load(row5 + j * channels))
    for i in range(POINTS):
        input_transform(outputs, 1, columns[6 * i], columns[6 * i + 1], columns[6 * i + 2],
                        columns[6 * i + 3], columns[6 * i + 4], columns[6 * i + 5])
        for j in range(POINTS):
            v_store(v + (i * POINTS + j) * plane, outputs[j])


cdef inline void input_tile(
    real* v,                            # the tile's place in the first plane
    const Py_ssize_t plane, const Py_ssize_t unit_planes,
    const real* image,                  # (height, width, channels)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t channels,
    const real* zeros,                  # of POINTS pixels
) noexcept nogil:
    """v = B^T x B of the 6 x 6 pixels from (top, left), which may lie outside of the image"""
    cdef const real* rows[6]
    cdef real patch[36 * LANES]
    cdef const real* ahead = image + ((top + POINTS) * width + left + 1) * channels
    cdef Py_ssize_t channel = 0
    row_pointers(rows, POINTS, image, top, left, height, width, channels, zeros)
    if left >= 0 and left + POINTS <= width:
        while channel + LANES <= channels:
            fetch_ahead(4, ahead + channel, width * channels, channels)
            input_vector(v + channel_at(channel, unit_planes), plane, rows[0] + channel,
                         rows[1] + channel, rows[2] + channel, rows[3] + channel, rows[4] + channel,
                         rows[5] + channel, channels)
            channel += LANES
    while channel < channels:
        fetch_ahead(4, ahead + channel, width * channels, channels)
        copy_pixels(patch, POINTS, rows, channels, left, width, channel,
                    min(<Py_ssize_t>LANES, channels - channel))
        input_vector(v + channel_at(channel, unit_planes), plane, patch, patch + 6 * LANES,
                     patch + 12 * LANES, patch + 18 * LANES, patch + 24 * LANES, patch + 30 * LANES,
                     LANES)
        channel += LANES


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
    const real* m,                      # the tile's place in the first plane
    const Py_ssize_t plane, const Py_ssize_t unit_planes,
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
            output_vector(taps, True, y + first, row, filters, m + channel_at(first, unit_planes),
                          plane, start, 0, 0, LANES)
            first += LANES
    while first < filters:
        lanes = filters - first if filters - first < LANES else LANES
        if bias != NULL:
            start = v_load_first(bias + first, lanes)
        output_vector(taps, False, y + first, row, filters, m + channel_at(first, unit_planes),
                      plane, start, rows, columns, lanes)
        first += LANES


cdef inline void output_gradient_vector(
    const int taps, real* d, const Py_ssize_t plane, const real* row0, const real* row1,
    const real* row2, const real* row3, const Py_ssize_t filters,
) noexcept nogil:
    """LANES filters: d (36 planes) = A pixels (7 - taps, the same) A^T"""
    cdef vreal along[24]
    cdef vreal outputs[6]
    cdef int side = 7 - taps
    cdef int i, j
    for j in range(7 - taps):
        output_gradient_transform(
            taps, along + j, side, v_load(row0 + j * filters), v_load(row1 + j * filters),
            v_load(row2 + j * filters), v_load(row3 + j * filters))
    for i in range(POINTS):
        if taps == 3:
            output_gradient_transform(taps, outputs, 1, along[4 * i], along[4 * i + 1],
                                      along[4 * i + 2], along[4 * i + 3])
        else:
            output_gradient_transform(taps, outputs, 1, along[2 * i], along[2 * i + 1],
                                      along[2 * i], along[2 * i])
        for j in range(POINTS):
            v_store(d + (i * POINTS + j) * plane, outputs[j])


cdef inline void output_gradient_tile(
    const int taps,
    real* d,                            # the tile's place in the first plane
    const Py_ssize_t plane, const Py_ssize_t unit_planes,
    const real* image,                  # (height, width, filters)
    const Py_ssize_t top, const Py_ssize_t left,
    const Py_ssize_t height, const Py_ssize_t width, const Py_ssize_t filters,
    const real* zeros,                  # of a tile's row of pixels
) noexcept nogil:
    """d = A dy A^T of a tile of the gradient; pixels below and right of the image count as zero"""
    cdef const real* rows[4]
    cdef real patch[16 * LANES]
    cdef Py_ssize_t filter = 0
    cdef int side = 7 - taps
    rows[2] = rows[3] = zeros
    row_pointers(rows, 7 - taps, image, top, left, height, width, filters, zeros)
    if left + side <= width:
        while filter + LANES <= filters:
            fetch_ahead(7 - taps, image + ((top + side) * width + left) * filters + filter,
                        width * filters, filters)
            output_gradient_vector(taps, d + channel_at(filter, unit_planes), plane,
                                   rows[0] + filter, rows[1] + filter, rows[2] + filter,
                                   rows[3] + filter, filters)
            filter += LANES
    while filter < filters:
        copy_pixels(patch, 7 - taps, rows, filters, left, width, filter,
                    min(<Py_ssize_t>LANES, filters - filter))
        output_gradient_vector(taps, d + channel_at(filter, unit_planes), plane, patch,
                               patch + side * LANES, patch + (2 * LANES if taps == 5 else 8 * LANES),
                               patch + (2 * LANES if taps == 5 else 12 * LANES), LANES)
        filter += LANES


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
