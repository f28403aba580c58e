"""Windows of a depthwise convolution in registers: an input is loaded once for all taps of a row.

    inputs    a  b  c  d  e  f  g  h  i  j          a row of the kernel: u v w
    outputs      0  1  2  3  4  5  6  7             0: a u + b v + c w    1: b u + c v + d w ...

Eight outputs in a row and the weights of a kernel's row are in registers while the inputs pass by,
each multiplied with all taps that have it: 10 loads instead of 24. The gradient of the weights goes
the same way, with dy where the outputs are. At the edges inputs that lie outside are left out, and
so are the outputs beyond the last.
"""

from fastnn._core.kernels.depthwise_lines cimport Line, Tap
from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.simd cimport (
    real,
    v_load,
    v_prefetch,
    v_prefetch_to_write,
    v_set,
    v_store,
    vreal,
)


cdef enum:
    # Outputs of a tile: beside seven weights and an input they are 16 registers.
    WINDOW_TILE = 8


cdef inline bint at_edge_of(const Line* line, const int window, Py_ssize_t column) noexcept nogil:
    """Whether a tile from `column` on has inputs outside, or ends beyond the last output."""
    cdef Py_ssize_t first
    if line.tap_count == 0:
        return True
    first = column + line.taps[window - 1 if line.turned else 0].shift
    return (column + WINDOW_TILE > line.columns or first < 0
            or first + WINDOW_TILE + window - 1 > line.input_columns)


cdef inline void places_inside(
    const Line* line, const int window, const Py_ssize_t column, Py_ssize_t* first, Py_ssize_t* last,
) noexcept nogil:
    """Which inputs of a tile from `column` on there are, and of outputs that there are."""
    cdef Py_ssize_t shift = 0
    if line.tap_count > 0:
        shift = column + line.taps[window - 1 if line.turned else 0].shift
    first[0] = max(-shift, <Py_ssize_t>0)
    last[0] = min(line.input_columns - shift, line.columns - column + window - 1)


cdef inline void window_tile(
    const int window, const bint at_edge, const Line* line, const Py_ssize_t column,
    const Py_ssize_t channel, const Py_ssize_t count,
) noexcept nogil:
    """`count` channels of the outputs from `column` on; `window`, the taps of a row, is a literal."""
    cdef vreal sums[8]
    cdef vreal weights[7]
    cdef vreal value
    cdef const Tap* tap
    cdef const real* values
    cdef const real* weight
    cdef real* out = line.out + column * line.out_step + channel
    cdef Py_ssize_t row, weight_step = -line.channels if line.turned else line.channels
    cdef Py_ssize_t first, last
    cdef int t, s, place
    places_inside(line, window, column, &first, &last)
    for t in range(WINDOW_TILE):
        v_prefetch(line.next_inputs + (column + t) * line.input_step + channel)
        v_prefetch_to_write(out + (line.columns + t) * line.out_step)
    value = v_set(0)
    if line.start != NULL:
        value = load_lanes(line.start + channel, count)
    for t in range(WINDOW_TILE):
        sums[t] = value
    for row in range(line.tap_count // window):  # no-cython-lint
        tap = line.taps + row * window + (window - 1 if line.turned else 0)
        weight = line.weight + tap.weight + channel
        values = line.inputs + tap.offset + column * line.input_step + channel
        for s in range(window):
            weights[s] = load_lanes(weight + s * weight_step, count)
        for place in range(WINDOW_TILE + window - 1):
            if at_edge and (place < first or place >= last):
                continue
            value = load_lanes(values + place * line.input_step, count)
            for s in range(window):
                if place - s >= 0 and place - s < WINDOW_TILE:
                    sums[place - s] += weights[s] * value
    for t in range(WINDOW_TILE):
        if not at_edge or column + t < line.columns:
            store_lanes(out + t * line.out_step, sums[t], count)


cdef inline void window_products(
    const int window, const bint at_edge, real* sums, real* bias_sums, const Py_ssize_t sums_step,
    const Line* line, const Py_ssize_t column, const Py_ssize_t channel, const Py_ssize_t count,
) noexcept nogil:
    """sums (taps,) += inputs * out of a tile, bias_sums += out: it is read here, the gradient"""
    cdef vreal gradients[8]
    cdef vreal totals[7]
    cdef vreal value
    cdef const Tap* tap
    cdef const real* values
    cdef const real* out = line.out + column * line.out_step + channel
    cdef real* total
    cdef Py_ssize_t row
    cdef Py_ssize_t first, last
    cdef int t, s, place
    places_inside(line, window, column, &first, &last)
    for t in range(WINDOW_TILE):
        v_prefetch(line.next_inputs + (column + t) * line.input_step + channel)
        v_prefetch(out + (line.columns + t) * line.out_step)
        gradients[t] = v_set(0)
        if not at_edge or column + t < line.columns:
            gradients[t] = load_lanes(out + t * line.out_step, count)
    v_store(bias_sums + channel, v_load(bias_sums + channel)
            + (((gradients[0] + gradients[1]) + (gradients[2] + gradients[3]))
               + ((gradients[4] + gradients[5]) + (gradients[6] + gradients[7]))))
    for row in range(line.tap_count // window):  # no-cython-lint
        tap = line.taps + row * window
        total = sums + tap.weight // line.channels * sums_step + channel
        values = line.inputs + tap.offset + column * line.input_step + channel
        for s in range(window):
            totals[s] = v_load(total + s * sums_step)
        for place in range(WINDOW_TILE + window - 1):
            if at_edge and (place < first or place >= last):
                continue
            value = load_lanes(values + place * line.input_step, count)
            for s in range(window):
                if place - s >= 0 and place - s < WINDOW_TILE:
                    if not at_edge or column + place - s < line.columns:
                        totals[s] += gradients[place - s] * value
        for s in range(window):
            v_store(total + s * sums_step, totals[s])
