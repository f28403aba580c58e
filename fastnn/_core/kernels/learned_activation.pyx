"""PReLU and ELU with a learned parameter: the activation and both of its gradients.

A parameter's gradient is a sum over all elements. It is summed over fixed parts of the data, and
the parts in their order, so that it is the same, bit by bit, at any number of threads.

One parameter for all elements makes the matrix a flat array. With a slope for each channel the
matrix is read in bands: some rows at a time, taken as one row over the slopes repeated.

    rows of 3 channels        a band: whole vectors, whatever the number of channels
    a b c / a b c / ...  ──▶  a b c a b c a b c a b c ...
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from fastnn._core.kernels.activation_rows cimport activation_forward_row
from fastnn._core.kernels.vector_math cimport ELU, LEAKY_RELU, reduced_argument, taylor_expm1
from fastnn._core.simd cimport (
    LANES,
    real,
    v_at_least,
    v_less,
    v_load,
    v_load_first,
    v_scale_by_power,
    v_select,
    v_select_not_positive,
    v_set,
    v_store,
    v_store_first,
    v_sum,
    v_zero_where,
    vmask,
    vreal,
)
from fastnn._core.step cimport Step, publish

cdef enum:
    # Elements of a piece of work: 16 KB of each operand in float, which stay in L1.
    CHUNK = 4096
    # Elements of a part of a matrix, and the most parts: each has its own sums for every channel.
    PART = 16384
    MAX_PARTS = 64
    # Shorter bands would wait for the sums that the band before has just written.
    BAND_VECTORS = 8
    # From this many channels on, the last vector of a row may be a broken one: a band is a row.
    WIDE = 256


cdef inline vreal prelu_gradient(vreal* dx, vreal dy, vreal x, vreal slope) noexcept nogil:
    """dx = dy where x > 0, else slope dy. Returns the slope's share: dy x where x <= 0."""
    cdef vmask positive = v_less(v_set(0), x)
    dx[0] = v_select(positive, dy, slope * dy)
    return v_zero_where(positive, dy * x)


cdef inline vreal elu_gradient(vreal* dx, vreal dy, vreal x, vreal alpha) noexcept nogil:
    """dx = dy where x > 0, else dy alpha exp(x). Returns alpha's share: dy (exp(x) - 1).

    With x = power log(2) + r, both exponentials are 2^power (exp(r) - 1) plus 2^power, or plus
    2^power - 1.
    """
    cdef real lowest = -104 if sizeof(real) == 4 else -746
    cdef vmask positive = v_less(v_set(0), x)
    cdef vreal power
    x = v_zero_where(positive, x)
    x = v_at_least(x, lowest)
    cdef vreal r = reduced_argument(x, &power)
    cdef vreal scale = v_scale_by_power(v_set(1), power)
    cdef vreal scaled_expm1 = scale * taylor_expm1(r)
    dx[0] = v_select(positive, dy, dy * (alpha * (scaled_expm1 + scale)))
    return v_zero_where(positive, dy * (scaled_expm1 + (scale - 1)))


cdef inline vreal learned_gradient(
    const int kind, vreal* dx, vreal dy, vreal x, vreal parameter,
) noexcept nogil:
    if kind == ELU:
        return elu_gradient(dx, dy, x, parameter)
    return prelu_gradient(dx, dy, x, parameter)


# One parameter for all elements.


cdef void activate_flat(
    real* y,                 # (n,)
    const real* x,           # (n,)
    Py_ssize_t n, int kind, real parameter, int threads,
) noexcept nogil:
    cdef Py_ssize_t chunk, first
    if threads == 1:
        activation_forward_row(kind, y, x, n, parameter)
        return
    for chunk in prange((n + CHUNK - 1) // CHUNK, schedule="static", num_threads=threads):
        first = chunk * CHUNK
        activation_forward_row(kind, y + first, x + first, min(CHUNK, n - first), parameter)


cdef inline real gradient_of_kind(
    const int kind, real* dx, const real* dy, const real* x, const Py_ssize_t n,
    const real parameter,
) noexcept nogil:
    # Four sums, so that an addition need not wait for the one before it.
    cdef vreal sums[4]
    cdef vreal gradient
    cdef Py_ssize_t i = 0
    cdef int j
    for j in range(4):
        sums[j] = v_set(0)
    while i + 4 * LANES <= n:
        for j in range(4):
            sums[j] += learned_gradient(kind, &gradient, v_load(dy + i), v_load(x + i),
                                        v_set(parameter))
            v_store(dx + i, gradient)
            i += LANES
    while i + LANES <= n:
        sums[0] += learned_gradient(kind, &gradient, v_load(dy + i), v_load(x + i),
                                    v_set(parameter))
        v_store(dx + i, gradient)
        i += LANES
    if i < n:
        sums[1] += learned_gradient(kind, &gradient, v_load_first(dy + i, n - i),
                                    v_load_first(x + i, n - i), v_set(parameter))
        v_store_first(dx + i, gradient, n - i)
    return v_sum((sums[0] + sums[1]) + (sums[2] + sums[3]))


cdef real gradient_chunk(
    int kind, real* dx, const real* dy, const real* x, Py_ssize_t first, Py_ssize_t n, real parameter,
) noexcept nogil:
    """The chunk of n elements that begins at `first`"""
    cdef Py_ssize_t count = min(CHUNK, n - first)
    if kind == ELU:
        return gradient_of_kind(ELU, dx + first, dy + first, x + first, count, parameter)
    return gradient_of_kind(LEAKY_RELU, dx + first, dy + first, x + first, count, parameter)


cdef void gradient_flat(
    real* dx,                # (n,)
    real* dparameter,        # (1,)
    const real* dy,          # (n,)
    const real* x,           # (n,)
    Py_ssize_t n, int kind, real parameter,
    double* partial,         # (chunks,)
    int threads,
) noexcept nogil:
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK
    cdef Py_ssize_t chunk
    cdef double total = 0
    if threads == 1:
        for chunk in range(chunks):
            partial[chunk] = gradient_chunk(kind, dx, dy, x, chunk * CHUNK, n, parameter)
    else:
        for chunk in prange(chunks, schedule="static", num_threads=threads):
            partial[chunk] = gradient_chunk(kind, dx, dy, x, chunk * CHUNK, n, parameter)
    for chunk in range(chunks):
        total += partial[chunk]
    dparameter[0] = <real>total


# One slope for each channel.


cdef Py_ssize_t rows_of_band(Py_ssize_t channels) noexcept nogil:
    cdef Py_ssize_t rows = 1
    if channels < WIDE:
        while channels * rows < BAND_VECTORS * LANES or channels * rows % LANES != 0:
            rows *= 2
    return rows


cdef void repeat_slopes(
    real* band_slopes,       # (band_rows, channels)
    const real* slope,       # (channels,)
    Py_ssize_t band_rows, Py_ssize_t channels,
) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(band_rows):
        memcpy(band_slopes + row * channels, slope, channels * sizeof(real))


cdef inline Py_ssize_t part_count(Py_ssize_t n, Py_ssize_t bands) noexcept nogil:
    return min(min(MAX_PARTS, bands), (n + PART - 1) // PART)


cdef void activate_bands(
    real* y, const real* x, Py_ssize_t n,
    const real* slope,       # (band,)
    Py_ssize_t band,
) noexcept nogil:
    cdef Py_ssize_t i, count
    cdef vreal value
    while n > 0:
        count = min(band, n)
        i = 0
        while i + LANES <= count:
            value = v_load(x + i)
            v_store(y + i, v_select_not_positive(value, v_load(slope + i) * value, value))
            i += LANES
        if i < count:
            value = v_load_first(x + i, count - i)
            v_store_first(y + i, v_select_not_positive(
                value, v_load_first(slope + i, count - i) * value, value), count - i)
        y += count
        x += count
        n -= count


cdef void gradient_bands(
    real* dx,
    real* dslope,            # (band,)
    const real* dy, const real* x, Py_ssize_t n,
    const real* slope,       # (band,)
    Py_ssize_t band,
) noexcept nogil:
    cdef Py_ssize_t i, count
    cdef vreal share, gradient
    memset(dslope, 0, band * sizeof(real))
    while n > 0:
        count = min(band, n)
        i = 0
        while i + LANES <= count:
            share = prelu_gradient(&gradient, v_load(dy + i), v_load(x + i), v_load(slope + i))
            v_store(dx + i, gradient)
            v_store(dslope + i, v_load(dslope + i) + share)
            i += LANES
        if i < count:
            share = prelu_gradient(&gradient, v_load_first(dy + i, count - i),
                                   v_load_first(x + i, count - i),
                                   v_load_first(slope + i, count - i))
            v_store_first(dx + i, gradient, count - i)
            v_store_first(dslope + i, v_load_first(dslope + i, count - i) + share, count - i)
        dx += count
        dy += count
        x += count
        n -= count


cdef void add_to(real* total, const real* other, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        v_store(total + i, v_load(total + i) + v_load(other + i))
        i += LANES
    if i < n:
        v_store_first(total + i, v_load_first(total + i, n - i) + v_load_first(other + i, n - i),
                      n - i)


cdef void prelu_forward(
    real* y,                 # (rows, channels)
    const real* x,           # (rows, channels)
    const real* slope,       # (slopes,)
    Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t slopes,
    char* workspace, int threads,
) noexcept nogil:
    """y = x where x > 0, else slope x; `slopes` is 1 or channels, y may be x"""
    cdef Py_ssize_t n = rows * channels
    cdef Py_ssize_t band_rows, band, bands, parts, part, first, last
    cdef real* band_slopes = <real*>workspace
    if slopes == 1:
        activate_flat(y, x, n, LEAKY_RELU, slope[0], threads)
        return
    band_rows = rows_of_band(channels)
    band = band_rows * channels
    bands = (n + band - 1) // band
    parts = part_count(n, bands)
    repeat_slopes(band_slopes, slope, band_rows, channels)
    if threads == 1:
        activate_bands(y, x, n, band_slopes, band)
        return
    for part in prange(parts, schedule="static", num_threads=threads):
        first = part * bands // parts * band
        last = min(n, (part + 1) * bands // parts * band)
        activate_bands(y + first, x + first, last - first, band_slopes, band)


cdef void gradient_part(
    real* dx, real* sums, const real* dy, const real* x, const real* band_slopes,
    Py_ssize_t n, Py_ssize_t band, Py_ssize_t bands, Py_ssize_t part, Py_ssize_t parts,
) noexcept nogil:
    """One of `parts` shares of the bands, with sums of its own"""
    cdef Py_ssize_t first = part * bands // parts * band
    cdef Py_ssize_t last = min(n, (part + 1) * bands // parts * band)
    gradient_bands(dx + first, sums + part * band, dy + first, x + first, last - first, band_slopes,
                   band)


cdef void prelu_backward(
    real* dx,                # (rows, channels)
    real* dslope,            # (slopes,)
    const real* dy,          # (rows, channels)
    const real* x,           # (rows, channels)
    const real* slope,       # (slopes,)
    Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t slopes,
    char* workspace, int threads,
) noexcept nogil:
    """dx = dy where x > 0, else slope dy; dslope = the sum of dy x where x <= 0; dx may be dy"""
    cdef Py_ssize_t n = rows * channels
    cdef Py_ssize_t band_rows, band, bands, parts, part
    cdef real* band_slopes = <real*>workspace
    cdef real* sums
    if slopes == 1:
        gradient_flat(dx, dslope, dy, x, n, LEAKY_RELU, slope[0], <double*>workspace, threads)
        return
    band_rows = rows_of_band(channels)
    band = band_rows * channels
    bands = (n + band - 1) // band
    parts = part_count(n, bands)
    sums = band_slopes + band
    repeat_slopes(band_slopes, slope, band_rows, channels)
    if threads == 1:
        for part in range(parts):
            gradient_part(dx, sums, dy, x, band_slopes, n, band, bands, part, parts)
    else:
        for part in prange(parts, schedule="static", num_threads=threads):
            gradient_part(dx, sums, dy, x, band_slopes, n, band, bands, part, parts)
    for part in range(1, parts):
        add_to(sums, sums + part * band, band)
    memcpy(dslope, sums, channels * sizeof(real))
    for part in range(1, band_rows):
        add_to(dslope, sums + part * channels, channels)


cdef void run_prelu_forward(const Step* s) noexcept nogil:
    prelu_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                  s.size[0], s.size[1], s.size[2], s.workspace, s.threads)


cdef void run_prelu_backward(const Step* s) noexcept nogil:
    prelu_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                   <real*>s.data[4], s.size[0], s.size[1], s.size[2], s.workspace, s.threads)


cdef void elu_forward(
    real* y,                 # (n,)
    const real* x,           # (n,)
    const real* alpha,       # (1,)
    Py_ssize_t n, int threads,
) noexcept nogil:
    """y = x where x > 0, else alpha (exp(x) - 1); y may be x"""
    activate_flat(y, x, n, ELU, alpha[0], threads)


cdef void elu_backward(
    real* dx,                # (n,)
    real* dalpha,            # (1,)
    const real* dy,          # (n,)
    const real* x,           # (n,)
    const real* alpha,       # (1,)
    Py_ssize_t n, char* workspace, int threads,
) noexcept nogil:
    """dx = dy where x > 0, else dy alpha exp(x); dalpha = the sum of dy (exp(x) - 1) where x <= 0

    dx may be dy.
    """
    gradient_flat(dx, dalpha, dy, x, n, ELU, alpha[0], <double*>workspace, threads)


cdef void run_elu_forward(const Step* s) noexcept nogil:
    elu_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], s.size[0], s.threads)


cdef void run_elu_backward(const Step* s) noexcept nogil:
    elu_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                 <real*>s.data[4], s.size[0], s.workspace, s.threads)


CONSTANTS = {"CHUNK": CHUNK, "MAX_PARTS": MAX_PARTS}
KERNELS = {
    "prelu_forward": publish(run_prelu_forward),
    "prelu_backward": publish(run_prelu_backward),
    "elu_forward": publish(run_elu_forward),
    "elu_backward": publish(run_elu_backward),
}
