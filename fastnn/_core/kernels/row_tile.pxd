"""Products with patches of pixels side by side, which share most of their inputs (patches.pxd).

A tile of patch_tile.pxd loads an element of A for each product with a vector of B. Where the filters
are one vector, these loads take longer than the products. But with stride 1 a pixel meets at one tap
what its neighbour meets at the next: a tile of pixels of one row loads each input once for a row of
taps, and keeps all sums in registers.

    inputs   x0 x1 x2 x3 x4 x5 x6 x7
    pixel 0  └────────────┘                4 pixels, 5 taps: 20 products
    pixel 1     └────────────┘             with 8 inputs and 5 vectors of weights (forward)
    pixel 2        └────────────┘          or 4 of dy (backward to the weights)
    pixel 3           └────────────┘

Each sum runs in the same order whichever tile holds it: it is the same wherever a pixel lies. X is read
element by element, never beyond; of the last row of B up to LANES - 1 elements beyond are read (never
used).
"""

from fastnn._core.kernels.convolution cimport Convolution, ceiling
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    vreal,
)

cdef enum:
    # Only 32 registers hold the sums. Who keeps the answer of shares_inputs asks this literal too, so
    # that builds for 16 leave the tiles out; they were a tenth of all compiling.
    ROWS_FIT = TILE_ROWS >= 8
    # Pixels of a forward tile: so many sums that none waits for its last product, and two tiles make
    # a row of 28. What is left of a row goes by narrow ones.
    WIDE_TILE = 14
    NARROW_TILE = 8
    # Pixels of dy in registers, beside up to 25 sums.
    GRADIENT_TILE = 4
    # With more channels neighbours in a row lie too far apart for passes by single channels.
    MOST_CHANNELS = 4


cdef struct PixelRow:
    # Pixels of one row of the output, whose first is number `first` of a table
    Py_ssize_t first
    Py_ssize_t end


cdef inline bint shares_inputs(const Convolution* g) noexcept nogil:
    """Whether rows of pixels are the faster way, where their sums fit: one vector of filters"""
    return (ROWS_FIT and g.groups == 1 and g.filters <= LANES and g.channels <= MOST_CHANNELS
            and g.stride_width == 1 and g.dilation_width == 1
            and (g.kernel_width == 3 or g.kernel_width == 5 or g.kernel_width == 7))


cdef inline PixelRow next_row(
    PixelRow row, Py_ssize_t before, Py_ssize_t width, Py_ssize_t count,
) noexcept nogil:
    """What follows in a table of `count` pixels, the first of which has `before` to its left."""
    cdef Py_ssize_t left = (before + row.end) % width
    return PixelRow(row.end, min(count, row.end + width - left))


cdef inline void row_tile(
    const int pixels, const int taps, const Py_ssize_t rows, const Py_ssize_t channels,
    const real* x, const int* x_taps, const real* weight,
    real* y, const Py_ssize_t filters, const real* start,
) noexcept nogil:
    """y (pixels, filters) = start + x (rows, pixels + taps - 1, channels), convolved with the weights.

    `pixels` and `taps` are literals where it is called, so that their loops unroll.
    """
    cdef vreal sums[14]
    cdef vreal weights[7]
    cdef vreal value
    cdef const real* row
    cdef int i, pixel, tap
    cdef Py_ssize_t r, channel
    for pixel in range(pixels):
        sums[pixel] = v_load(start) if start != NULL else v_set(0)
    for r in range(rows):
        for channel in range(channels):
            row = x + x_taps[r * taps * channels] + channel
            for tap in range(taps):
                weights[tap] = v_load(weight + (tap * channels + channel) * LANES)
            for i in range(pixels + taps - 1):
                value = v_set(row[i * channels])
                for tap in range(taps):
                    if 0 <= i - tap < pixels:
                        sums[i - tap] += value * weights[tap]
        weight += taps * channels * LANES
    for pixel in range(pixels):
        if filters == LANES:
            v_store(y + pixel * filters, sums[pixel])
        else:
            v_store_first(y + pixel * filters, sums[pixel], filters)


cdef inline void row_tiles(
    const int taps, PixelRow row, const Py_ssize_t rows, const Py_ssize_t channels,
    const real* x, const int* x_pixels, const int* x_taps, const real* weight,
    real* y, const int* y_pixels, const Py_ssize_t filters, const real* start,
) noexcept nogil:
    """A row of pixels: wide tiles, and narrow ones of nearly the same width"""
    cdef Py_ssize_t pixels = row.end - row.first, tiles, tile, width
    x += x_pixels[row.first]
    y += y_pixels[row.first]
    while pixels >= WIDE_TILE:
        row_tile(WIDE_TILE, taps, rows, channels, x, x_taps, weight, y, filters, start)
        x += WIDE_TILE * channels
        y += WIDE_TILE * filters
        pixels -= WIDE_TILE
    tiles = ceiling(pixels, NARROW_TILE)
    for tile in range(tiles):
        width = (tile + 1) * pixels // tiles - tile * pixels // tiles
        if width == 8:
            row_tile(8, taps, rows, channels, x, x_taps, weight, y, filters, start)
        elif width == 7:
            row_tile(7, taps, rows, channels, x, x_taps, weight, y, filters, start)
        elif width == 6:
            row_tile(6, taps, rows, channels, x, x_taps, weight, y, filters, start)
        elif width == 5:
            row_tile(5, taps, rows, channels, x, x_taps, weight, y, filters, start)
        elif width == 4:
            row_tile(4, taps, rows, channels, x, x_taps, weight, y, filters, start)
        elif width == 3:
            row_tile(3, taps, rows, channels, x, x_taps, weight, y, filters, start)
        elif width == 2:
            row_tile(2, taps, rows, channels, x, x_taps, weight, y, filters, start)
        else:
            row_tile(1, taps, rows, channels, x, x_taps, weight, y, filters, start)
        x += width * channels
        y += width * filters


cdef inline void row_product(
    const Py_ssize_t taps, const Py_ssize_t rows, const Py_ssize_t channels,
    const Py_ssize_t count, const Py_ssize_t before, const Py_ssize_t width,
    const real* x, const int* x_pixels, const int* x_taps, const real* weight,
    real* y, const int* y_pixels, const Py_ssize_t filters, const real* start,
) noexcept nogil:
    """y[y_pixels[i]] (filters,) of `count` pixels, in rows of `width`; `before` are left of the first.

    Pixel i meets x[x_pixels[i] + x_taps[k]] with weight[k] (LANES,): `rows` rows of `taps` taps.
    """
    cdef PixelRow row = next_row(PixelRow(0, 0), before, width, count)
    while row.first < count:
        if taps == 3:
            row_tiles(3, row, rows, channels, x, x_pixels, x_taps, weight, y, y_pixels, filters, start)
        elif taps == 5:
            row_tiles(5, row, rows, channels, x, x_pixels, x_taps, weight, y, y_pixels, filters, start)
        else:
            row_tiles(7, row, rows, channels, x, x_pixels, x_taps, weight, y, y_pixels, filters, start)
        row = next_row(row, before, width, count)


cdef inline void add_gradient(
    const int pixels, const int rows, const int taps, vreal* sums,
    const real* x, const Py_ssize_t row_step, const Py_ssize_t channels,
    const real* dy, const Py_ssize_t filters,
) noexcept nogil:
    """sums (rows, taps) += the products of some pixels of a row; all numbers are literals"""
    cdef vreal gradients[4]
    cdef vreal value
    cdef int i, r, pixel
    for pixel in range(pixels):
        gradients[pixel] = v_load(dy + pixel * filters)
    for r in range(rows):
        for i in range(pixels + taps - 1):
            value = v_set(x[r * row_step + i * channels])
            for pixel in range(pixels):
                if 0 <= i - pixel < taps:
                    sums[r * taps + i - pixel] += value * gradients[pixel]


cdef inline void gradient_tile(
    const int rows, const int taps, const Py_ssize_t channels,
    const Py_ssize_t count, const Py_ssize_t before, const Py_ssize_t width,
    const real* x, const int* x_pixels, const Py_ssize_t row_step,
    const real* dy, real* dweight, const Py_ssize_t filters,
) noexcept nogil:
    """dweight of one channel and `rows` rows of taps += x (pixels + taps) * dy (pixels, filters)"""
    cdef vreal sums[25]
    cdef PixelRow row = next_row(PixelRow(0, 0), before, width, count)
    cdef const real* at
    cdef Py_ssize_t pixel
    cdef int i
    for i in range(rows * taps):
        sums[i] = v_load_first(dweight + i * channels * filters, filters)
    while row.first < count:
        at = x + x_pixels[row.first]
        pixel = row.first
        while pixel + GRADIENT_TILE <= row.end:
            add_gradient(GRADIENT_TILE, rows, taps, sums, at, row_step, channels,
                         dy + pixel * filters, filters)
            at += GRADIENT_TILE * channels
            pixel += GRADIENT_TILE
        while pixel < row.end:
            add_gradient(1, rows, taps, sums, at, row_step, channels, dy + pixel * filters, filters)
            at += channels
            pixel += 1
        row = next_row(row, before, width, count)
    for i in range(rows * taps):
        v_store_first(dweight + i * channels * filters, sums[i], filters)


cdef inline void gradient_tiles(
    const int most_rows, const int taps, const Py_ssize_t kernel_rows, const Py_ssize_t channels,
    const Py_ssize_t count, const Py_ssize_t before, const Py_ssize_t width,
    const real* x, const int* x_pixels, const Py_ssize_t row_step,
    const real* dy, real* dweight, const Py_ssize_t filters,
) noexcept nogil:
    """All channels and rows of taps, by tiles of at most `most_rows` (3 or more) of these"""
    cdef Py_ssize_t channel, r = 0, rows
    while r < kernel_rows:
        rows = min(<Py_ssize_t>most_rows, kernel_rows - r)
        for channel in range(channels):
            if most_rows >= 5 and rows == 5:
                gradient_tile(5, taps, channels, count, before, width, x + channel, x_pixels, row_step,
                              dy, dweight + channel * filters, filters)
            elif most_rows >= 4 and rows == 4:
                gradient_tile(4, taps, channels, count, before, width, x + channel, x_pixels, row_step,
                              dy, dweight + channel * filters, filters)
            elif rows == 3:
                gradient_tile(3, taps, channels, count, before, width, x + channel, x_pixels, row_step,
                              dy, dweight + channel * filters, filters)
            elif rows == 2:
                gradient_tile(2, taps, channels, count, before, width, x + channel, x_pixels, row_step,
                              dy, dweight + channel * filters, filters)
            else:
                gradient_tile(1, taps, channels, count, before, width, x + channel, x_pixels, row_step,
                              dy, dweight + channel * filters, filters)
        r += rows
        x += rows * row_step
        dweight += rows * taps * channels * filters


cdef inline void row_gradient(
    const Py_ssize_t taps, const Py_ssize_t kernel_rows, const Py_ssize_t channels,
    const Py_ssize_t count, const Py_ssize_t before, const Py_ssize_t width,
    const real* x, const int* x_pixels, const Py_ssize_t row_step,
    const real* dy, real* dweight, const Py_ssize_t filters,
) noexcept nogil:
    """dweight (kernel_rows, taps, channels, filters) += that of `count` pixels, in rows of `width`.

    Pixel i, of dy (count, filters), meets x[x_pixels[i] + r * row_step + s * channels + channel].
    """
    # Sums of so many rows of taps fit into 32 registers.
    if taps == 3:
        gradient_tiles(5, 3, kernel_rows, channels, count, before, width, x, x_pixels, row_step, dy,
                       dweight, filters)
    elif taps == 5:
        gradient_tiles(5, 5, kernel_rows, channels, count, before, width, x, x_pixels, row_step, dy,
                       dweight, filters)
    else:
        gradient_tiles(3, 7, kernel_rows, channels, count, before, width, x, x_pixels, row_step, dy,
                       dweight, filters)
