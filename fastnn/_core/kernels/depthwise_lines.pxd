"""A depthwise convolution as lines: rows of outputs at equal distances, with the taps that count.

    out[column]  =  the sum over taps of  weight[tap] * inputs[column * column_step + tap.shift]

The output of forward is one line a row; a row of the input's gradient is one line for each
remainder of the column by the stride, since those columns meet the same taps. Taps of a kernel's
row that lie side by side, one column apart, are a window (depthwise_window.pxd).
"""

from fastnn._core.kernels.convolution cimport Convolution
from fastnn._core.simd cimport real


cdef struct Tap:
    Py_ssize_t weight          # where its weights begin
    Py_ssize_t offset          # of its input from that of tap (0, 0) without padding
    Py_ssize_t shift           # the columns of that offset

cdef struct Line:
    Py_ssize_t channels
    Py_ssize_t columns         # outputs
    real* out
    Py_ssize_t out_step        # from one output to the next
    const real* inputs
    Py_ssize_t input_step
    Py_ssize_t column_step     # the same in columns
    Py_ssize_t input_columns
    const real* weight         # (taps, channels)
    const real* start          # (channels,) or NULL
    Tap* taps
    Py_ssize_t tap_count
    Py_ssize_t window          # taps of a window, or 0
    const real* next_inputs    # the row of inputs behind those that the taps lie in
    bint turned                # a window's last tap is its first on the input


cdef inline Py_ssize_t window_of(const Convolution* c) noexcept nogil:
    """Taps of a kernel's row that one register tile takes at once: of the usual kernels."""
    if c.stride_width != 1 or c.dilation_width != 1:
        return 0
    if c.kernel_width == 3 or c.kernel_width == 5 or c.kernel_width == 7:
        return c.kernel_width
    return 0


cdef inline void look_ahead(Line* line, const Py_ssize_t row) noexcept nogil:
    """The row behind the last that a tap lies in is the next line's: `row` elements further."""
    cdef const Tap* last = line.taps
    line.next_inputs = line.inputs
    if line.tap_count > 0:
        if not line.turned:
            last = line.taps + line.tap_count - 1
        line.next_inputs = line.inputs + last.offset - last.shift * line.input_step + row


cdef inline bint lies_inside(const Line* line, Py_ssize_t column, const Tap* tap) noexcept nogil:
    cdef Py_ssize_t position = column * line.column_step + tap.shift
    return position >= 0 and position < line.input_columns


cdef inline void interior_of(const Line* line, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil:
    """The columns from `first` to `last` whose taps all lie inside"""
    cdef Py_ssize_t least = 0, most = 0, k
    for k in range(line.tap_count):
        least = min(least, line.taps[k].shift)
        most = max(most, line.taps[k].shift)
    first[0] = min(line.columns, (line.column_step - 1 - least) // line.column_step)
    last[0] = 0
    if line.input_columns > most:
        last[0] = min(line.columns, (line.input_columns - 1 - most) // line.column_step + 1)
    last[0] = max(first[0], last[0])


cdef inline Py_ssize_t taps_of_row(
    Tap* taps, const Convolution* c, Py_ssize_t out_row, Py_ssize_t from_image,
) noexcept nogil:
    """The taps of an output row on the input; `from_image` is the first row of the image"""
    cdef Py_ssize_t r, s, row, count = 0
    for r in range(c.kernel_height):
        row = out_row * c.stride_height - c.pad_top + r * c.dilation_height
        if row < 0 or row >= c.height:
            continue
        for s in range(c.kernel_width):
            taps[count].weight = (r * c.kernel_width + s) * c.channels
            taps[count].shift = s * c.dilation_width - c.pad_left
            taps[count].offset = ((from_image + row) * c.width + taps[count].shift) * c.channels
            count += 1
    return count


cdef inline Py_ssize_t taps_on_pixels(
    Tap* taps, const Convolution* c, Py_ssize_t row, Py_ssize_t remainder, Py_ssize_t from_image,
) noexcept nogil:
    """The taps of outputs that meet an input row in columns of a remainder by the stride

    Output column j * stride + remainder sees dy in column j + shift by such a tap.
    """
    cdef Py_ssize_t r, s, down, across, count = 0
    for r in range(c.kernel_height):
        down = row + c.pad_top - r * c.dilation_height
        if down < 0 or down % c.stride_height != 0 or down // c.stride_height >= c.out_height:
            continue
        down = down // c.stride_height
        for s in range(c.kernel_width):
            across = remainder + c.pad_left - s * c.dilation_width
            if across % c.stride_width != 0:
                continue
            taps[count].weight = (r * c.kernel_width + s) * c.channels
            taps[count].shift = across // c.stride_width
            taps[count].offset = (
                ((from_image + down) * c.out_width + taps[count].shift) * c.channels)
            count += 1
    return count
