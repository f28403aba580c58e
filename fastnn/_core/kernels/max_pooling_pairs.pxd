"""Max-pooling of pixels two by two, the usual one: windows of 2 x 2 pixels side by side, no padding.

    a vector of channels, a pixel at a time       few channels: as many pixels as fill a vector
    x  [ pixel 0 ][ pixel 1 ]                     x  a0 a1 b0 b1 c0 c1 d0 d1     picked apart into
    y       [ pixel 0 ]                           y  a  b  c  d                  even and odd pixels

Nothing is looked up in tables but where a row of windows begins. Equals and NaN are as in
max_pooling.pyx: the taps of a row of x are compared first, in the order of their numbers.
"""

from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.kernels.pooling cimport Axis, Pool
from fastnn._core.simd cimport (
    LANES,
    real,
    v_and_not,
    v_equal,
    v_less,
    v_load_first,
    v_load_first_short,
    v_load_short,
    v_or,
    v_pick,
    v_same,
    v_select,
    v_select_whole,
    v_set,
    v_set_whole,
    v_store_first_short,
    v_store_short,
    vmask,
    vreal,
)
from libc.stdint cimport uint16_t


cdef struct Pairs:
    bint are_all               # windows are 2 x 2 pixels side by side
    Py_ssize_t pixels          # outputs of a vector that holds several, all channels of each; or 0
    # Where its lanes lie
    uint16_t even[16]          # in two vectors of x: an output's channels of the even pixel
    uint16_t odd[16]
    uint16_t lower[16]         # in two vectors, of even and of odd pixels: those of x in its order
    uint16_t upper[16]


cdef inline void store_winner(uint16_t* winner, vmask tap, const Py_ssize_t count) noexcept nogil:
    if count == LANES:
        v_store_short(winner, tap)
    else:
        v_store_first_short(winner, tap, count)


cdef inline vmask load_winner(const uint16_t* winner, const Py_ssize_t count) noexcept nogil:
    return v_load_short(winner) if count == LANES else v_load_first_short(winner, count)


cdef inline vmask beats(vreal value, vreal best) noexcept nogil:
    """Larger, or NaN: the first of equals stays, and the last NaN, as in PyTorch."""
    return v_or(v_less(best, value), v_and_not(v_set_whole(-1), v_equal(value, value)))


cdef inline bint in_pairs(const Axis* axis) noexcept nogil:
    """Whether window i is pixels 2 i and 2 i + 1: the first and the last are, and all in between."""
    cdef Py_ssize_t last = axis.out_length - 1
    return (axis.tap_distance == 1 and axis.tap_step == 2
            and axis.windows[0].first == 0 and axis.windows[0].count == 2
            and axis.windows[last].first == 2 * last and axis.windows[last].count == 2)


cdef inline Py_ssize_t place_of(const Py_ssize_t element, const Py_ssize_t channels) noexcept nogil:
    """Where an element of x lies in a vector of even pixels, followed by one of odd pixels."""
    cdef Py_ssize_t pixel = element // channels
    return (pixel % 2 * LANES + pixel // 2 * channels + element % channels) % (2 * LANES)


cdef inline Pairs pairs_of(const Pool* p) noexcept nogil:
    """Two vectors of x become one of y, of as many whole pixels as it holds."""
    cdef Pairs pairs
    cdef Py_ssize_t lane, pixel, channel, channels = p.channels
    pairs.are_all = p.taps_of_row == 2 and in_pairs(&p.rows) and in_pairs(&p.columns)
    pairs.pixels = 0
    if not pairs.are_all or 2 * channels > LANES:
        return pairs
    pairs.pixels = LANES // channels
    for lane in range(LANES):
        pixel, channel = lane // channels, lane % channels
        # Lanes behind the last whole pixel are of no use: any place will do.
        pixel = min(pixel, pairs.pixels - 1)
        pairs.even[lane] = <uint16_t>(2 * pixel * channels + channel)
        pairs.odd[lane] = <uint16_t>((2 * pixel + 1) * channels + channel)
        pairs.lower[lane] = <uint16_t>place_of(lane, channels)
        pairs.upper[lane] = <uint16_t>place_of(LANES + lane, channels)
    return pairs


cdef inline void largest_of_four(
    const bint keeps, real* y, uint16_t* winner, vreal x0, vreal x1, vreal x2, vreal x3,
    const Py_ssize_t count,
) noexcept nogil:
    """y and, if `keeps` (a literal), the number of the pixel that it is."""
    cdef vmask upper = beats(x1, x0)
    cdef vmask lower = beats(x3, x2)
    cdef vreal best = v_select(upper, x1, x0)
    cdef vreal best_below = v_select(lower, x3, x2)
    cdef vmask below = beats(best_below, best)
    store_lanes(y, v_select(below, best_below, best), count)
    if keeps:
        store_winner(winner, v_select_whole(
            below, v_select_whole(lower, v_set_whole(3), v_set_whole(2)),
            v_select_whole(upper, v_set_whole(1), v_set_whole(0))), count)


cdef inline void largest_of_pixel(
    const bint keeps, real* y, uint16_t* winner, const real* x, const Py_ssize_t channels,
    const Py_ssize_t row, const Py_ssize_t count,
) noexcept nogil:
    largest_of_four(keeps, y, winner, load_lanes(x, count), load_lanes(x + channels, count),
                    load_lanes(x + row, count), load_lanes(x + row + channels, count), count)


cdef inline void pick_pixels(
    vreal* even, vreal* odd, const real* x, const Py_ssize_t count, const Pairs* pairs,
) noexcept nogil:
    """`count` elements of x, pixels in turn."""
    cdef vreal first = v_load_first(x, min(count, <Py_ssize_t>LANES))
    cdef vreal second = v_set(0)
    if count > LANES:
        second = v_load_first(x + LANES, count - LANES)
    even[0] = v_pick(first, second, v_load_short(pairs.even))
    odd[0] = v_pick(first, second, v_load_short(pairs.odd))


cdef inline void forward_pairs(
    const bint keeps, real* y, uint16_t* winner, const real* x, const Pool* p,
    const Pairs* pairs,
) noexcept nogil:
    """A row of outputs, x from the first of their two rows on"""
    cdef Py_ssize_t column = 0, channel, pixels, channels = p.channels
    cdef Py_ssize_t row = p.columns.length * channels
    cdef vreal x0, x1, x2, x3
    if pairs.pixels > 0:
        while column < p.columns.out_length:
            pixels = min(pairs.pixels, p.columns.out_length - column)
            pick_pixels(&x0, &x1, x, 2 * pixels * channels, pairs)
            pick_pixels(&x2, &x3, x + row, 2 * pixels * channels, pairs)
            largest_of_four(keeps, y, winner, x0, x1, x2, x3, pixels * channels)
            y += pixels * channels
            winner += pixels * channels if keeps else 0
            x += 2 * pixels * channels
            column += pixels
        return
    while column < p.columns.out_length:
        channel = 0
        while channel + LANES <= channels:
            largest_of_pixel(keeps, y + channel, winner + channel if keeps else NULL, x + channel,
                             channels, row, LANES)
            channel += LANES
        if channels < LANES:
            largest_of_pixel(keeps, y, winner, x, channels, row, channels)
        elif channel < channels:
            channel = channels - LANES
            largest_of_pixel(keeps, y + channel, winner + channel if keeps else NULL, x + channel,
                             channels, row, LANES)
        y += channels
        winner += channels if keeps else 0
        x += 2 * channels
        column += 1


cdef inline vreal gradient_of(vmask winner, const int tap, vreal gradient) noexcept nogil:
    """dy where this tap won, else zero."""
    return v_select(v_same(winner, v_set_whole(tap)), gradient, v_set(0))


cdef inline void gradients_of_pixel(
    real* dx, const real* dy, const uint16_t* winner, const Py_ssize_t channels,
    const Py_ssize_t row, const Py_ssize_t count,
) noexcept nogil:
    cdef vreal gradient = load_lanes(dy, count)
    cdef vmask tap = load_winner(winner, count)
    store_lanes(dx, gradient_of(tap, 0, gradient), count)
    store_lanes(dx + channels, gradient_of(tap, 1, gradient), count)
    store_lanes(dx + row, gradient_of(tap, 2, gradient), count)
    store_lanes(dx + row + channels, gradient_of(tap, 3, gradient), count)


cdef inline void merge_pixels(
    real* dx, vreal even, vreal odd, const Py_ssize_t count, const Pairs* pairs,
) noexcept nogil:
    """`count` elements of dx, pixels in turn."""
    store_lanes(dx, v_pick(even, odd, v_load_short(pairs.lower)), min(count, <Py_ssize_t>LANES))
    if count > LANES:
        store_lanes(dx + LANES, v_pick(even, odd, v_load_short(pairs.upper)), count - LANES)


cdef inline void backward_pairs(
    real* dx, const real* dy, const uint16_t* winner, const Pool* p,
    const Pairs* pairs,
) noexcept nogil:
    """The two rows of dx under a row of outputs"""
    cdef Py_ssize_t column = 0, channel, pixels, channels = p.channels
    cdef Py_ssize_t row = p.columns.length * channels
    cdef vreal gradient
    cdef vmask tap
    if pairs.pixels > 0:
        while column < p.columns.out_length:
            pixels = min(pairs.pixels, p.columns.out_length - column)
            gradient = load_lanes(dy, pixels * channels)
            tap = load_winner(winner, pixels * channels)
            merge_pixels(dx, gradient_of(tap, 0, gradient), gradient_of(tap, 1, gradient),
                         2 * pixels * channels, pairs)
            merge_pixels(dx + row, gradient_of(tap, 2, gradient), gradient_of(tap, 3, gradient),
                         2 * pixels * channels, pairs)
            dy += pixels * channels
            winner += pixels * channels
            dx += 2 * pixels * channels
            column += pixels
        return
    while column < p.columns.out_length:
        channel = 0
        while channel + LANES <= channels:
            gradients_of_pixel(dx + channel, dy + channel, winner + channel, channels, row, LANES)
            channel += LANES
        if channels < LANES:
            gradients_of_pixel(dx, dy, winner, channels, row, channels)
        elif channel < channels:
            channel = channels - LANES
            gradients_of_pixel(dx + channel, dy + channel, winner + channel, channels, row, LANES)
        dy += channels
        winner += channels
        dx += 2 * channels
        column += 1
