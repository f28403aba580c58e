"""Space to depth: a convolution with stride s as one of stride 1 on blocks of s x s pixels.

    image (height, width, channels)          blocks (rows, columns, s * s * channels)

    ┌──┬──┬──┐                               Pixels of a block lie one behind the other, row by row.
    │ab│  │  │  ──▶  [a b c d] [ ... ] ...   Padding is copied in, as zeros.
    │cd│  │  │
    └──┴──┴──┘

A kernel of 11 x 11 and stride 4 on 3 channels becomes 3 x 3 on 48, with zeros for the row and the
column of taps beyond the eleventh, and Winograd's tiles fit it.
"""

from fastnn._core.kernels.convolution cimport Convolution
from fastnn._core.kernels.winograd_tiling cimport Tiling
from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_store, v_store_first
from fastnn._core.tasks cimport run_tasks
from libc.string cimport memcpy, memset


cdef struct Images:
    const Tiling* t
    const Convolution* g
    real* blocks         # (images, t.height, t.width, stride * stride * channels)
    const real* x        # (images, height, width, channels)


cdef inline void copy_elements(real* to, const real* source, const Py_ssize_t count) noexcept nogil:
    """A few: a call of memcpy would take longer."""
    cdef Py_ssize_t i = 0
    while i + LANES <= count:
        v_store(to + i, v_load(source + i))
        i += LANES
    if i < count:
        v_store_first(to + i, v_load_first(source + i, count - i), count - i)


cdef inline void blocks_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """One row of blocks, counted over all images."""
    cdef const Images* images = <const Images*>context
    cdef const Tiling* t = images.t
    cdef const Convolution* g = images.g
    cdef Py_ssize_t image = row // t.height
    cdef Py_ssize_t top = row % t.height * t.stride - g.pad_top
    cdef Py_ssize_t run = t.stride * g.channels
    cdef Py_ssize_t block, i, j, left
    cdef const real* source
    cdef real* to = images.blocks + row * t.width * t.stride * run
    for block in range(t.width):
        left = block * t.stride - g.pad_left
        for i in range(t.stride):
            source = images.x + ((image * g.height + top + i) * g.width + left) * g.channels
            if top + i < 0 or top + i >= g.height:
                memset(to, 0, run * sizeof(real))
            elif left >= 0 and left + t.stride <= g.width:
                copy_elements(to, source, run)
            else:
                memset(to, 0, run * sizeof(real))
                for j in range(max(0, -left), min(t.stride, g.width - left)):
                    memcpy(to + j * g.channels, source + j * g.channels, g.channels * sizeof(real))
            to += run


cdef inline void blocks_of_images(
    const Tiling* t, const Convolution* g,
    real* blocks,        # (images, t.height, t.width, stride * stride * channels)
    const real* x,       # (images, height, width, channels)
    const int threads,
) noexcept nogil:
    cdef Images images = Images(t, g, blocks, x)
    run_tasks(blocks_row, &images, g.images * t.height, NULL, 0, threads)


cdef inline void image_row(
    const Tiling* t, const Convolution* g,
    real* dx,            # (images, height, width, channels)
    const real* blocks,  # (images, t.out_height, t.out_width, stride * stride * channels)
    const Py_ssize_t row,
) noexcept nogil:
    """One row of pixels, counted over all images; those that no block holds are zero."""
    cdef Py_ssize_t image = row // g.height
    cdef Py_ssize_t i = row % g.height + g.pad_top
    cdef Py_ssize_t block_row = image * t.out_height + i // t.stride
    cdef Py_ssize_t column, j
    cdef real* to = dx + row * g.width * g.channels
    for column in range(g.width):
        j = column + g.pad_left
        if i // t.stride >= t.out_height or j // t.stride >= t.out_width:
            memset(to, 0, g.channels * sizeof(real))
        else:
            copy_elements(to, blocks + (
                (block_row * t.out_width + j // t.stride) * t.stride * t.stride
                + i % t.stride * t.stride + j % t.stride) * g.channels, g.channels)
        to += g.channels
