"""Patches of an image that are never written out: where their elements lie, in two small tables.

    element q of the patch of pixel p  =  band[pixels[p] + taps[q]]

A band is a part of the padded input that stays in the L2 cache: some rows of an image, or some
small images. Only where the kernel sees padding is it copied, with its zeros, to the workspace of
a thread; else it is the input itself.

    input                     band (rows of the padded input)
    ┌─────────┐               0 0 0 0 0 0 0 0 0 0 0
    │ a b c d │ copied  ──▶   0 a b c d e f g h i 0      stride, dilation and groups are nothing
    │ j k l m │  once         0 j k l m n o p q r 0      but other numbers in the tables
    └─────────┘               └────┘ taps of pixel 0

patch_tile.pxd multiplies with such patches.

Backward to the input is a convolution of dy again, with the kernel turned over. With a stride, an
input pixel meets only every stride-th tap. Which ones depends on its position modulo the stride:
its phase. Each phase is a convolution of dy with stride 1 and the taps of its own, so that each
input pixel is written once, and by one thread.
"""

from fastnn._core.kernels.convolution cimport Convolution, ceiling
from fastnn._core.simd cimport real
from libc.string cimport memcpy, memset

cdef enum:
    # Of a band: 256 KB of float32, a quarter of L2, the rest being for weights and output. The
    # two numbers stand in fastnn/_compiler/convolution/direct.py too, for the workspace.
    BAND_ELEMENTS = 65536
    # Output pixels of a band: as many as make the copy and the tables small beside the product.
    BAND_PIXELS = 1024
    # Bands that there should be for the threads to share, however few images there are.
    LEAST_BANDS = 8
    # Rows whose patches reach beyond the image are computed apart, without the taps that see only
    # zeros, where they are at least one row in so many (and wide enough to fill tiles).
    BORDER_SHARE = 4
    BORDER_WIDTH = 4

cdef struct Patches:
    # Where the patches come from
    Py_ssize_t images
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t channels
    Py_ssize_t pad_top             # negative: rows that no patch sees
    Py_ssize_t pad_left
    # A grid of patches
    Py_ssize_t grid_height
    Py_ssize_t grid_width
    Py_ssize_t stride_height
    Py_ssize_t stride_width
    Py_ssize_t reach_height        # rows from the first tap of a patch to its last, both included
    Py_ssize_t reach_width
    # Patch (i, j) makes pixel (i * out_stride_height + out_top + phase, ...) of the output
    Py_ssize_t out_height
    Py_ssize_t out_width
    Py_ssize_t out_channels
    Py_ssize_t out_stride_height   # and number of phases
    Py_ssize_t out_stride_width
    Py_ssize_t out_top
    Py_ssize_t out_left
    # Bands
    bint in_place                  # no patch sees padding
    bint by_borders                # rows with other taps than their neighbours are apart
    Py_ssize_t padded_width
    Py_ssize_t row_stride          # elements from one row of a band to the next
    Py_ssize_t image_stride        # and from one image to the next
    Py_ssize_t rows_of_band        # rows of the grid
    Py_ssize_t images_of_band
    Py_ssize_t bands_of_image      # 1 if there are more images than one in a band
    Py_ssize_t bands

cdef struct Band:
    const real* data
    Py_ssize_t first_image
    Py_ssize_t images
    Py_ssize_t first_row           # of the grid
    Py_ssize_t rows

cdef struct Taps:
    # Elements of a patch of one group, in the order of the weights
    Py_ssize_t count               # in the table
    Py_ssize_t outside             # before those in the table, left out
    Py_ssize_t of_phase            # all

cdef struct Space:
    # A thread's workspace
    real* band
    int* pixels
    int* outputs
    int* taps


cdef inline void cut_into_bands(Patches* p) noexcept nogil:
    """The same bands at any number of threads: sums over them are always the same."""
    cdef Py_ssize_t row, rows, padded_rows, images
    p.padded_width = (p.grid_width - 1) * p.stride_width + p.reach_width
    padded_rows = (p.grid_height - 1) * p.stride_height + p.reach_height
    p.in_place = (p.pad_top <= 0 and p.pad_left <= 0 and padded_rows - p.pad_top <= p.height
                  and p.padded_width - p.pad_left <= p.width)
    p.by_borders = (not p.in_place and p.grid_width >= BORDER_WIDTH
                    and p.grid_height <= BORDER_SHARE * (p.reach_height - 1))
    row = p.padded_width * p.channels
    rows = (BAND_ELEMENTS // row - p.reach_height) // p.stride_height + 1
    rows = min(rows, BAND_PIXELS // p.grid_width,
               ceiling(p.grid_height, ceiling(LEAST_BANDS, p.images)))
    if BAND_ELEMENTS // row < p.reach_height or rows < 1:
        rows = 1
    p.bands_of_image = ceiling(p.grid_height, rows)
    p.rows_of_band = ceiling(p.grid_height, p.bands_of_image)
    p.bands_of_image = ceiling(p.grid_height, p.rows_of_band)
    images = 1
    if p.bands_of_image == 1:
        images = min(BAND_ELEMENTS // (padded_rows * row), BAND_PIXELS // (p.grid_height * p.grid_width),
                     p.images // LEAST_BANDS)
    p.images_of_band = max(images, <Py_ssize_t>1)
    p.bands = ceiling(p.images, p.images_of_band) * p.bands_of_image
    if p.in_place:
        p.row_stride = p.width * p.channels
        p.image_stride = p.height * p.row_stride
    else:
        p.row_stride = row
        p.image_stride = ((p.rows_of_band - 1) * p.stride_height + p.reach_height) * row


cdef inline Patches patches_of_input(const Convolution* g) noexcept nogil:
    """Those of x that make the pixels of y."""
    cdef Patches p
    p.images, p.height, p.width, p.channels = g.images, g.height, g.width, g.channels
    p.pad_top, p.pad_left = g.pad_top, g.pad_left
    p.grid_height, p.grid_width = g.out_height, g.out_width
    p.stride_height, p.stride_width = g.stride_height, g.stride_width
    p.reach_height = (g.kernel_height - 1) * g.dilation_height + 1
    p.reach_width = (g.kernel_width - 1) * g.dilation_width + 1
    p.out_height, p.out_width, p.out_channels = g.out_height, g.out_width, g.filters
    p.out_stride_height = p.out_stride_width = 1
    p.out_top = p.out_left = 0
    cut_into_bands(&p)
    return p


cdef inline Patches patches_of_gradient(const Convolution* g) noexcept nogil:
    """Those of dy that make the pixels of dx, phase by phase."""
    cdef Patches p
    cdef Py_ssize_t first_row = g.pad_top // g.stride_height, first_column = g.pad_left // g.stride_width
    p.images, p.height, p.width, p.channels = g.images, g.out_height, g.out_width, g.filters
    p.grid_height = (g.height - 1 + g.pad_top) // g.stride_height + 1 - first_row
    p.grid_width = (g.width - 1 + g.pad_left) // g.stride_width + 1 - first_column
    p.stride_height = p.stride_width = 1
    p.reach_height = (g.kernel_height - 1) * g.dilation_height // g.stride_height + 1
    p.reach_width = (g.kernel_width - 1) * g.dilation_width // g.stride_width + 1
    p.pad_top, p.pad_left = p.reach_height - 1 - first_row, p.reach_width - 1 - first_column
    p.out_height, p.out_width, p.out_channels = g.height, g.width, g.channels
    p.out_stride_height, p.out_stride_width = g.stride_height, g.stride_width
    p.out_top = first_row * g.stride_height - g.pad_top
    p.out_left = first_column * g.stride_width - g.pad_left
    cut_into_bands(&p)
    return p


cdef inline void copy_band(real* to, const real* x, const Patches* p, const Band* band) noexcept nogil:
    """Rows of the padded input, with their zeros."""
    cdef Py_ssize_t rows = (band.rows - 1) * p.stride_height + p.reach_height
    cdef Py_ssize_t image, row, source, left, begin, count, right
    left = max(p.pad_left, <Py_ssize_t>0)
    begin = max(-p.pad_left, <Py_ssize_t>0)
    count = max(min(p.width - begin, p.padded_width - left), <Py_ssize_t>0)
    left = min(left, p.padded_width)
    right = p.padded_width - left - count
    for image in range(band.first_image, band.first_image + band.images):
        for row in range(rows):
            source = band.first_row * p.stride_height + row - p.pad_top
            if source < 0 or source >= p.height:
                memset(to, 0, p.row_stride * sizeof(real))
            else:
                memset(to, 0, left * p.channels * sizeof(real))
                memcpy(to + left * p.channels,
                       x + ((image * p.height + source) * p.width + begin) * p.channels,
                       count * p.channels * sizeof(real))
                memset(to + (left + count) * p.channels, 0, right * p.channels * sizeof(real))
            to += p.row_stride


cdef inline Band take_band(const real* x, const Patches* p, Py_ssize_t index, real* space) noexcept nogil:
    """Band `index`: in place, or copied to `space`."""
    cdef Band band
    band.first_image = index // p.bands_of_image * p.images_of_band
    band.images = min(p.images_of_band, p.images - band.first_image)
    band.first_row = index % p.bands_of_image * p.rows_of_band
    band.rows = min(p.rows_of_band, p.grid_height - band.first_row)
    if p.in_place:
        band.data = x + band.first_image * p.image_stride - p.pad_left * p.channels + (
            band.first_row * p.stride_height - p.pad_top) * p.row_stride
    else:
        copy_band(space, x, p, &band)
        band.data = space
    return band


cdef inline Py_ssize_t row_of_first_tap(const Patches* p, Py_ssize_t row) noexcept nogil:
    """The row of the image where the patches of a row of the grid begin; may be outside."""
    return row * p.stride_height - p.pad_top


cdef inline bint sees_border(const Patches* p, Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t first = row_of_first_tap(p, row)
    return first < 0 or first + p.reach_height > p.height


cdef inline Band part_of_band(
    const Patches* p, const Band* band, Py_ssize_t index, Py_ssize_t row,
) noexcept nogil:
    """From row `row` of image `index` as many rows as see the same taps within the image."""
    cdef Band part
    part.data = band.data + index * p.image_stride + row * p.stride_height * p.row_stride
    part.first_image, part.images = band.first_image + index, 1
    part.first_row, part.rows = band.first_row + row, 1
    while (row + part.rows < band.rows and not sees_border(p, part.first_row)
            and not sees_border(p, part.first_row + part.rows)):
        part.rows += 1
    return part


cdef inline Py_ssize_t pixel_tables(
    int* pixels, int* outputs, const Patches* p, const Band* band,
    Py_ssize_t phase_height, Py_ssize_t phase_width,
) noexcept nogil:
    """Where each patch of a phase lies in the band and its pixel in the output; gives their number.

    The output is counted from the first pixel of the band's first image.
    """
    cdef Py_ssize_t image, row, column, out_row, n = 0
    cdef Py_ssize_t left = p.out_left + phase_width
    cdef Py_ssize_t first = 0 if left >= 0 else 1
    cdef Py_ssize_t last = min(p.grid_width, ceiling(p.out_width - left, p.out_stride_width))
    cdef int start, step = <int>(p.stride_width * p.channels)
    cdef int out_start, out_step = <int>(p.out_stride_width * p.out_channels)
    for image in range(band.images):
        for row in range(band.rows):
            out_row = (band.first_row + row) * p.out_stride_height + p.out_top + phase_height
            if out_row < 0 or out_row >= p.out_height:
                continue
            start = <int>(image * p.image_stride + row * p.stride_height * p.row_stride)
            out_start = <int>(((image * p.out_height + out_row) * p.out_width + left) * p.out_channels)
            for column in range(first, last):
                pixels[n] = start + <int>column * step
                outputs[n] = out_start + <int>column * out_step
                n += 1
    return n


cdef inline Py_ssize_t tap_position(
    Py_ssize_t tap, Py_ssize_t dilation, Py_ssize_t phases, Py_ssize_t phase, Py_ssize_t reach,
    bint backward,
) noexcept nogil:
    """The row (or column) of a patch that a tap is multiplied with; -1: it is of another phase."""
    cdef Py_ssize_t beyond = tap * dilation - phase
    if not backward:
        return tap * dilation
    return -1 if beyond % phases else reach - 1 - beyond // phases


cdef inline Taps tap_table(
    int* table, const Patches* p, const Convolution* g, bint backward,
    Py_ssize_t phase_height, Py_ssize_t phase_width, Py_ssize_t grid_row,
) noexcept nogil:
    """Where the elements of a patch of one group lie, in the order of the weights.

    With `by_borders` without those that lie above or below the image for the patches of `grid_row`.
    """
    cdef Py_ssize_t r, s, c, row, column, channels = p.channels // g.groups
    cdef Py_ssize_t first = row_of_first_tap(p, grid_row)
    cdef Taps taps = Taps(0, 0, 0)
    cdef int start
    for r in range(g.kernel_height):
        row = tap_position(r, g.dilation_height, p.out_stride_height, phase_height, p.reach_height,
                           backward)
        if row < 0:
            continue
        for s in range(g.kernel_width):
            column = tap_position(s, g.dilation_width, p.out_stride_width, phase_width, p.reach_width,
                                  backward)
            if column < 0:
                continue
            taps.of_phase += channels
            if p.by_borders and (first + row < 0 or first + row >= p.height):
                if taps.count == 0:
                    taps.outside += channels
                continue
            start = <int>(row * p.row_stride + column * p.channels)
            for c in range(channels):
                table[taps.count + c] = start + <int>c
            taps.count += channels
    return taps


cdef inline Space space_of(char* workspace, const Patches* p) noexcept nogil:
    """As fastnn/_compiler/convolution/direct.py counts it."""
    cdef Space space
    cdef Py_ssize_t pixels = max(<Py_ssize_t>BAND_PIXELS, p.grid_width)
    cdef Py_ssize_t elements = max(<Py_ssize_t>BAND_ELEMENTS,
                                   p.reach_height * p.padded_width * p.channels)
    space.band = <real*>workspace
    space.pixels = <int*>(space.band + elements)
    space.outputs = space.pixels + pixels
    space.taps = space.outputs + pixels
    return space
