"""PReLU and ELU with a learned parameter: the activation and both of its gradients.

A parameter's gradient is a sum over all elements. It is summed over fixed parts of the data, and
the parts in their order, so that it is the same, bit by bit, at any number of threads.

One parameter for all elements makes the matrix a flat array. With a slope for each channel the
matrix is read in bands: some rows at a time, taken as one row over the slopes repeated.

    rows of 3 channels        a band: whole vectors, whatever the number of channels
    a b c / a b c / ...  ──▶  a b c a b c a b c a b c ...
"""

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
from fastnn._core.tasks cimport run_tasks

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

cdef struct Flat:
    int kind
    real parameter
    real* out                # y, or backward dx
    const real* dy           # backward
    const real* x
    Py_ssize_t n
    double* partial          # backward: (chunks,)

cdef struct Bands:
    real* out                # y, or backward dx
    real* sums               # backward: (parts, band)
    const real* dy           # backward
    const real* x
    real* slope              # (band,)
    Py_ssize_t n
    Py_ssize_t band          # elements of one
    Py_ssize_t bands
    Py_ssize_t parts         # of the bands


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


cdef void activate_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Flat* job = <const Flat*>context
    cdef Py_ssize_t first = chunk * CHUNK
    activation_forward_row(job.kind, job.out + first, job.x + first, min(CHUNK, job.n - first),
                           job.parameter)


cdef void activate_flat(
    real* y,                 # (n,)
    const real* x,           # (n,)
    Py_ssize_t n, int kind, real parameter, int threads,
) noexcept nogil:
    cdef Flat job = Flat(kind, parameter, y, NULL, x, n, NULL)
    run_tasks(activate_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


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


cdef void gradient_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Flat* job = <const Flat*>context
    cdef Py_ssize_t first = chunk * CHUNK, count = min(CHUNK, job.n - first)
    cdef real* dx = job.out + first
    cdef const real* dy = job.dy + first
    cdef const real* x = job.x + first
    if job.kind == ELU:
        job.partial[chunk] = gradient_of_kind(ELU, dx, dy, x, count, job.parameter)
    else:
        job.partial[chunk] = gradient_of_kind(LEAKY_RELU, dx, dy, x, count, job.parameter)


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
    cdef Flat job = Flat(kind, parameter, dx, dy, x, n, partial)
    run_tasks(gradient_chunk, &job, chunks, NULL, 0, threads)
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


cdef Bands bands_of(
    real* out, const real* dy, const real* x, const real* slope,
    Py_ssize_t rows, Py_ssize_t channels, char* workspace,
) noexcept nogil:
    """The division of a matrix into bands and parts, with the slopes of a band in the workspace."""
    cdef Py_ssize_t band_rows = rows_of_band(channels)
    cdef Bands b
    b.out, b.dy, b.x, b.n = out, dy, x, rows * channels
    b.band = band_rows * channels
    b.bands = (b.n + b.band - 1) // b.band
    b.parts = part_count(b.n, b.bands)
    b.slope = <real*>workspace
    b.sums = b.slope + b.band
    repeat_slopes(b.slope, slope, band_rows, channels)
    return b


cdef inline Py_ssize_t start_of_part(const Bands* b, Py_ssize_t part) noexcept nogil:
    return min(b.n, part * b.bands // b.parts * b.band)


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


cdef void activate_part(const void* context, Py_ssize_t part, char* workspace) noexcept nogil:
    cdef const Bands* b = <const Bands*>context
    cdef Py_ssize_t first = start_of_part(b, part)
    activate_bands(b.out + first, b.x + first, start_of_part(b, part + 1) - first, b.slope, b.band)


cdef void prelu_forward(
    real* y,                 # (rows, channels)
    const real* x,           # (rows, channels)
    const real* slope,       # (slopes,)
    Py_ssize_t rows, Py_ssize_t channels, Py_ssize_t slopes,
    char* workspace, int threads,
) noexcept nogil:
    """y = x where x > 0, else slope x; `slopes` is 1 or channels, y may be x"""
    cdef Bands b
    if slopes == 1:
        activate_flat(y, x, rows * channels, LEAKY_RELU, slope[0], threads)
        return
    b = bands_of(y, NULL, x, slope, rows, channels, workspace)
    run_tasks(activate_part, &b, b.parts, NULL, 0, threads)


cdef void gradient_part(const void* context, Py_ssize_t part, char* workspace) noexcept nogil:
    """One of the parts of the bands, with sums of its own"""
    cdef const Bands* b = <const Bands*>context
    cdef Py_ssize_t first = start_of_part(b, part)
    gradient_bands(b.out + first, b.sums + part * b.band, b.dy + first, b.x + first,
                   start_of_part(b, part + 1) - first, b.slope, b.band)


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
    cdef Py_ssize_t part
    cdef Bands b
    if slopes == 1:
        gradient_flat(dx, dslope, dy, x, rows * channels, LEAKY_RELU, slope[0], <double*>workspace,
                      threads)
        return
    b = bands_of(dx, dy, x, slope, rows, channels, workspace)
    run_tasks(gradient_part, &b, b.parts, NULL, 0, threads)
    for part in range(1, b.parts):
        add_to(b.sums, b.sums + part * b.band, b.band)
    memcpy(dslope, b.sums, channels * sizeof(real))
    for part in range(1, b.band // channels):
        add_to(dslope, b.sums + part * channels, channels)


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
