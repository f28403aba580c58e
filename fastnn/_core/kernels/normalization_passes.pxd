"""What batch normalization does to the elements of a piece: sums of two kinds, results of three.

A piece is some rows of a block of channels; normalization.pyx tells how the matrix is cut into them
and what becomes of the sums. The loops stand here once for any activation, known as a literal.
"""

from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.kernels.vector_math cimport (
    IDENTITY,
    LEAKY_RELU,
    RELU,
    activate,
    activation_gradient,
)
from fastnn._core.simd cimport LANES, real, v_load, v_set, v_store, vreal

cdef enum:
    CHUNK_ROWS = 256
    BLOCK_VECTORS = 4
    STRIP_BYTES = 16384
    STRIP_ROWS = 8           # at least: the sums of a strip are read and written once

cdef enum Pass:
    # What is done to each element: two of sums, then three of results.
    NOTHING
    MOMENTS
    GRADIENT_SUMS
    NORMALIZE
    GRADIENTS
    GRADIENTS_OF_CONSTANTS   # where the statistics did not depend on x

cdef struct Batch:
    Py_ssize_t rows
    Py_ssize_t channels
    int activation
    real slope
    const real* x              # (rows, channels)
    const real* dy             # (rows, channels)
    real* result               # (rows, channels): y or dx
    real* sums                 # (chunks, vectors, 3, LANES), see moments_of and sums_of
    # (channels,) each, NULL where absent
    real* mean
    real* inverse_std
    const real* weight
    const real* bias
    real* running_mean
    real* running_var
    real* dweight
    real* dbias
    real eps
    real momentum

cdef struct Piece:
    Py_ssize_t row
    Py_ssize_t rows
    Py_ssize_t channel
    Py_ssize_t lanes           # of its only vector, where it has one
    real* sums                 # (vectors, 3, LANES)
    bint begins                # the first of a chunk, where sums start


cdef inline Py_ssize_t chunk_count(Py_ssize_t rows) noexcept nogil:
    return (rows + CHUNK_ROWS - 1) // CHUNK_ROWS


cdef inline Py_ssize_t vector_count(Py_ssize_t channels) noexcept nogil:
    return (channels + LANES - 1) // LANES


cdef inline void load_channels(
    vreal* center, vreal* scale, vreal* offset,
    const Batch* b, Py_ssize_t channel, Py_ssize_t lanes,
) noexcept nogil:
    """The activation takes (x - center) * scale + offset, in forward and backward alike"""
    center[0] = load_lanes(b.mean + channel, lanes)
    scale[0] = load_lanes(b.inverse_std + channel, lanes)
    if b.weight != NULL:
        scale[0] *= load_lanes(b.weight + channel, lanes)
    offset[0] = v_set(0)
    if b.bias != NULL:
        offset[0] = load_lanes(b.bias + channel, lanes)


cdef inline void moments_of(const int vectors, const Batch* b, const Piece* p) noexcept nogil:
    """sums = the first row, and the sums of deviations from it and of their squares"""
    cdef vreal shift[4]
    cdef vreal total[4]
    cdef vreal squares[4]
    cdef vreal deviation
    cdef const real* x = b.x + p.row * b.channels + p.channel
    cdef Py_ssize_t row, channels = b.channels, lanes = LANES if vectors > 1 else p.lanes
    cdef int j
    for j in range(vectors):
        if p.begins:
            shift[j] = load_lanes(x + j * LANES, lanes)
            total[j] = v_set(0)
            squares[j] = v_set(0)
        else:
            shift[j] = v_load(p.sums + 3 * j * LANES)
            total[j] = v_load(p.sums + (3 * j + 1) * LANES)
            squares[j] = v_load(p.sums + (3 * j + 2) * LANES)
    for row in range(p.rows):  # no-cython-lint
        for j in range(vectors):
            deviation = load_lanes(x + j * LANES, lanes) - shift[j]
            total[j] += deviation
            squares[j] += deviation * deviation
        x += channels
    for j in range(vectors):
        v_store(p.sums + 3 * j * LANES, shift[j])
        v_store(p.sums + (3 * j + 1) * LANES, total[j])
        v_store(p.sums + (3 * j + 2) * LANES, squares[j])


cdef inline void normalize(
    const int vectors, const int activation, const Batch* b, const Piece* p,
) noexcept nogil:
    """y = f((x - mean) * inverse_std * weight + bias)"""
    cdef vreal center[4]
    cdef vreal scale[4]
    cdef vreal offset[4]
    cdef vreal normal
    cdef const real* x = b.x + p.row * b.channels + p.channel
    cdef real* y = b.result + p.row * b.channels + p.channel
    cdef Py_ssize_t row, channels = b.channels, lanes = LANES if vectors > 1 else p.lanes
    cdef real slope = b.slope
    cdef int j
    for j in range(vectors):
        load_channels(&center[j], &scale[j], &offset[j], b, p.channel + j * LANES, lanes)
    for row in range(p.rows):  # no-cython-lint
        for j in range(vectors):
            # The mean comes off first: as a part of the offset it would take digits from it.
            normal = (load_lanes(x + j * LANES, lanes) - center[j]) * scale[j] + offset[j]
            store_lanes(y + j * LANES, activate(activation, normal, slope), lanes)
        x += channels
        y += channels


cdef inline vreal gradient_before(
    const int activation, vreal dy, vreal deviation, vreal scale, vreal offset, real slope,
) noexcept nogil:
    """dy' = dy f'(deviation * scale + offset), of the very numbers that f got in forward"""
    if activation == IDENTITY:
        return dy
    cdef vreal y = deviation * scale + offset
    # These two keep the sign of what they get, and it is all that their derivatives ask for.
    if activation != RELU and activation != LEAKY_RELU:
        y = activate(activation, y, slope)
    return activation_gradient(activation, y, dy, slope)


cdef inline void gradients_of(
    const int which, const int vectors, const int activation, const Batch* b, const Piece* p,
) noexcept nogil:
    """GRADIENT_SUMS: sums = the sums of dy' and of dy' (x - mean)

    GRADIENTS: dx = scale (dy' - mean(dy') - (x - mean) mean(dy' (x - mean)) / std^2)
    """
    cdef vreal center[4]
    cdef vreal scale[4]
    cdef vreal offset[4]
    cdef vreal total[4]
    cdef vreal products[4]
    cdef vreal deviation, gradient
    cdef const real* x = b.x + p.row * b.channels + p.channel
    cdef const real* dy = b.dy + p.row * b.channels + p.channel
    cdef real* dx = b.result
    cdef Py_ssize_t row, channels = b.channels, lanes = LANES if vectors > 1 else p.lanes
    cdef real slope = b.slope
    cdef int j
    if which != GRADIENT_SUMS:
        dx += p.row * b.channels + p.channel
    for j in range(vectors):
        load_channels(&center[j], &scale[j], &offset[j], b, p.channel + j * LANES, lanes)
        total[j] = v_set(0)
        products[j] = v_set(0)
        if which == GRADIENTS or (which == GRADIENT_SUMS and not p.begins):
            total[j] = v_load(p.sums + 3 * j * LANES)
            products[j] = v_load(p.sums + (3 * j + 1) * LANES)
    for row in range(p.rows):  # no-cython-lint
        for j in range(vectors):
            deviation = load_lanes(x + j * LANES, lanes) - center[j]
            gradient = gradient_before(activation, load_lanes(dy + j * LANES, lanes), deviation,
                                       scale[j], offset[j], slope)
            if which == GRADIENT_SUMS:
                total[j] += gradient
                products[j] += gradient * deviation
            else:
                if which == GRADIENTS:
                    gradient = gradient - total[j] - deviation * products[j]
                store_lanes(dx + j * LANES, gradient * scale[j], lanes)
        x += channels
        dy += channels
        if which != GRADIENT_SUMS:
            dx += channels
    if which == GRADIENT_SUMS:
        for j in range(vectors):
            v_store(p.sums + 3 * j * LANES, total[j])
            v_store(p.sums + (3 * j + 1) * LANES, products[j])


cdef inline void do_vectors(
    const int which, const int vectors, const int activation, const Batch* b, const Piece* p,
) noexcept nogil:
    if which == MOMENTS:
        moments_of(vectors, b, p)
    elif which == NORMALIZE:
        normalize(vectors, activation, b, p)
    else:
        gradients_of(which, vectors, activation, b, p)


cdef inline void do_piece(
    const int which, const int activation, const int widest, const Batch* b, Piece p,
    Py_ssize_t last_channel,
) noexcept nogil:
    """Blocks of `widest` vectors (a literal), then single ones, up to `last_channel`"""
    while p.channel + widest * LANES <= last_channel:
        p.lanes = LANES
        do_vectors(which, widest, activation, b, &p)
        p.channel += widest * LANES
        p.sums += widest * 3 * LANES
    while p.channel < last_channel:
        p.lanes = min(<Py_ssize_t>LANES, last_channel - p.channel)
        do_vectors(which, 1, activation, b, &p)
        p.channel += LANES
        p.sums += 3 * LANES


cdef inline void choose_activation(
    const int which, const Batch* b, const Piece* p, Py_ssize_t last_channel,
) noexcept nogil:
    if b.activation == IDENTITY or which == MOMENTS:
        do_piece(which, IDENTITY, BLOCK_VECTORS, b, p[0], last_channel)
    elif b.activation == RELU:
        do_piece(which, RELU, BLOCK_VECTORS, b, p[0], last_channel)
    elif b.activation == LEAKY_RELU:
        do_piece(which, LEAKY_RELU, BLOCK_VECTORS, b, p[0], last_channel)
    else:
        do_piece(which, b.activation, 1, b, p[0], last_channel)
