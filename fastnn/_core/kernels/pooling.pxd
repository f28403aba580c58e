"""Windows of pooling, as the kernels get them from fastnn/_compiler/windows.py.

An axis has a table of windows and one of covers, each row four numbers:

    output position ──▶ Window: where its taps lie on the image     (forward reads these)
    input position  ──▶ Cover: which outputs have a tap on it       (backward gathers from these)

    input    0   1   2   3   4   5   6         kernel 3, stride 2, no padding
    outputs  [───0───]   .   .   .   .         Window(1) = first 2, count 3, tap 0
             .   .   [───1───]   .   .         Cover(4)  = output 1, count 2, tap 2: the last tap of
             .   .   .   .   [───2───]                     output 1, the first of output 2

All that depends on stride, padding, dilation, rounding or an adaptive size is in the tables: the
kernels know none of it, and neither pass scatters.
"""

from fastnn._core.step cimport Step
from libc.stdint cimport int64_t

cdef enum:
    # Vectors of channels whose results stay in registers over a whole window.
    BLOCK_VECTORS = 4

cdef struct Window:
    int64_t first         # position of its first tap on the image
    int64_t count         # taps on the image
    int64_t tap           # number of the first
    int64_t divisor       # what an average divides by

cdef struct Cover:
    int64_t output        # the first output that has a tap here
    int64_t count         # how many have; they lie `cover_step` apart
    int64_t tap           # the number of its tap; that of the next is `tap_step` less
    int64_t unused

cdef struct Axis:
    Py_ssize_t length
    Py_ssize_t out_length
    Py_ssize_t tap_distance
    Py_ssize_t cover_step
    Py_ssize_t tap_step
    const Window* windows      # (out_length,)
    const Cover* covers        # (length,)

cdef struct Pool:
    Py_ssize_t images
    Py_ssize_t channels
    Py_ssize_t taps_of_row     # the kernel's width
    bint overlaps              # whether windows share pixels, or lie one in the other
    bint has_gaps              # whether there are pixels in no window
    Axis rows
    Axis columns


cdef inline Axis axis_of(const Py_ssize_t* sizes, const void* tables) noexcept nogil:
    cdef const Window* windows = <const Window*>tables
    return Axis(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4],
                windows, <const Cover*>(windows + sizes[1]))


cdef inline Pool pool_of(const Step* s, const void* rows, const void* columns) noexcept nogil:
    """The order of fastnn/_compiler/operators/pooling.py."""
    return Pool(s.size[0], s.size[1], s.size[2], s.size[3], s.size[4],
                axis_of(s.size + 5, rows), axis_of(s.size + 10, columns))
