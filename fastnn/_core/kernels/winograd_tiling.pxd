"""A convolution as Winograd's tiles: how many, in which blocks, and their way into the planes."""

from fastnn._core.kernels.convolution cimport Convolution, ceiling
from fastnn._core.kernels.matmul cimport panel_count
from fastnn._core.kernels.winograd_tiles cimport GROUP_TILES, PLANE, UNIT, UNIT_PLANES, input_tile
from fastnn._core.simd cimport real


cdef enum:
    # Of a block's planes: a quarter of a second-level cache, which holds U and pixels besides.
    BLOCK_BYTES = 262144
    MOST_GROUPS = 4            # of tiles in a block
    # A block of the weights' gradient: sums are read and written once for its tiles, which pays
    # for planes that only the third-level cache holds.
    GRADIENT_BLOCK_BYTES = 8388608


cdef struct Tiling:
    # A convolution as tiles: `channels` in, `filters` out. Of dx: the other way round.
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t channels
    Py_ssize_t out_height
    Py_ssize_t out_width
    Py_ssize_t filters
    Py_ssize_t pad_top
    Py_ssize_t pad_left
    int taps
    Py_ssize_t outputs         # of a tile along an axis
    Py_ssize_t tiles_across
    Py_ssize_t tiles_of_image
    Py_ssize_t tiles
    Py_ssize_t wide_channels   # rounded up to UNIT
    Py_ssize_t wide_filters
    Py_ssize_t panels          # of filters
    Py_ssize_t units_in        # of UNIT channels
    Py_ssize_t units_out       # of UNIT filters
    Py_ssize_t block_groups    # of a block's tiles, in the forward pass
    Py_ssize_t gradient_groups  # the same, in the weights' gradient
    Py_ssize_t weight_plane    # elements of a plane of U
    # Where a weight lies: those of a strided convolution are rearranged as its image is.
    Py_ssize_t stride
    Py_ssize_t kernel_height
    Py_ssize_t kernel_width
    Py_ssize_t weight_channels
    Py_ssize_t weight_filters


cdef inline Py_ssize_t whole_units(Py_ssize_t channels) noexcept nogil:
    return ceiling(channels, UNIT) * UNIT


cdef inline Py_ssize_t block_groups(Py_ssize_t bytes_of_block, Py_ssize_t units) noexcept nogil:
    return min(max(bytes_of_block // (units * UNIT_PLANES * <Py_ssize_t>sizeof(real)), 1), MOST_GROUPS)


cdef inline Py_ssize_t tile_at(Py_ssize_t tile, Py_ssize_t units) noexcept nogil:
    """Where a tile of a block begins in its first plane."""
    return tile // GROUP_TILES * units * UNIT_PLANES + tile % GROUP_TILES * UNIT


cdef inline Tiling tiling_of(const Convolution* g, const bint of_gradient) noexcept nogil:
    """Of a convolution with a stride: tiles of the image and weights in blocks of stride x stride."""
    cdef Tiling t
    cdef Py_ssize_t pad_top = g.pad_top, pad_left = g.pad_left
    t.stride = g.stride_height
    t.kernel_height, t.kernel_width = g.kernel_height, g.kernel_width
    t.weight_channels, t.weight_filters = g.channels, g.filters
    t.taps = <int>ceiling(g.kernel_height, t.stride)
    t.outputs = 7 - t.taps
    t.height, t.width, t.channels = g.height, g.width, g.channels
    if t.stride > 1:
        t.height, t.width = g.out_height + t.taps - 1, g.out_width + t.taps - 1
        t.channels = g.channels * t.stride * t.stride
        pad_top = pad_left = 0
    t.out_height, t.out_width, t.filters = g.out_height, g.out_width, g.filters
    t.pad_top, t.pad_left = pad_top, pad_left
    if of_gradient:
        t.out_height, t.out_width, t.filters = t.height, t.width, t.channels
        t.height, t.width, t.channels = g.out_height, g.out_width, g.filters
        t.pad_top, t.pad_left = t.taps - 1 - pad_top, t.taps - 1 - pad_left
    t.tiles_across = ceiling(t.out_width, t.outputs)
    t.tiles_of_image = ceiling(t.out_height, t.outputs) * t.tiles_across
    t.tiles = g.images * t.tiles_of_image
    t.wide_channels, t.wide_filters = whole_units(t.channels), whole_units(t.filters)
    t.panels = panel_count(t.filters)
    t.weight_plane = t.channels * t.wide_filters + UNIT
    t.units_in, t.units_out = ceiling(t.channels, UNIT), ceiling(t.filters, UNIT)
    t.block_groups = block_groups(BLOCK_BYTES, max(t.units_in, t.units_out))
    t.gradient_groups = block_groups(GRADIENT_BLOCK_BYTES, t.units_in + t.units_out)
    return t


cdef inline Py_ssize_t weight_at(
    const Tiling* t, const Py_ssize_t channel, const int tap,
) noexcept nogil:
    """Where the weights (weight_filters,) of a channel and a tap begin; -1 where there are none."""
    cdef Py_ssize_t row, column
    if t.stride == 1:
        return (tap * t.weight_channels + channel) * t.weight_filters
    row = tap // t.taps * t.stride + channel // t.weight_channels // t.stride
    column = tap % t.taps * t.stride + channel // t.weight_channels % t.stride
    if row >= t.kernel_height or column >= t.kernel_width:
        return -1
    return ((row * t.kernel_width + column) * t.weight_channels
            + channel % t.weight_channels) * t.weight_filters


cdef inline Py_ssize_t block_start(Py_ssize_t block, Py_ssize_t blocks, Py_ssize_t tiles) noexcept nogil:
    """Blocks of nearly equal size, each a multiple of 8 tiles but for the last."""
    return min(tiles, block * ((tiles + 7) // 8) // blocks * 8)


cdef struct Place:
    # A tile of an image.
    Py_ssize_t image
    Py_ssize_t row             # of tiles
    Py_ssize_t column


cdef inline Place place_of(const Tiling* t, const Py_ssize_t tile) noexcept nogil:
    cdef Place place
    place.image = tile // t.tiles_of_image
    place.row = tile % t.tiles_of_image // t.tiles_across
    place.column = tile % t.tiles_of_image % t.tiles_across
    return place


cdef inline void to_next(const Tiling* t, Place* place) noexcept nogil:
    """The next tile, without a division."""
    place.column += 1
    if place.column == t.tiles_across:
        place.column = 0
        place.row += 1
        if place.row * t.tiles_across == t.tiles_of_image:
            place.row = 0
            place.image += 1


cdef inline void tiles_in(
    const Tiling* t, real* v, const Py_ssize_t units, const real* x,
    const Py_ssize_t first, const Py_ssize_t last, const real* zeros,
) noexcept nogil:
    """v (36 planes of last - first tiles) = B^T x B"""
    cdef Place place = place_of(t, first)
    cdef Py_ssize_t tile
    for tile in range(last - first):
        input_tile(v + tile_at(tile, units), PLANE, UNIT_PLANES,
                   x + place.image * t.height * t.width * t.channels,
                   place.row * t.outputs - t.pad_top, place.column * t.outputs - t.pad_left,
                   t.height, t.width, t.channels, zeros)
        to_next(t, &place)
