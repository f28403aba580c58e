"""Batch normalization of a (rows, channels) matrix over its rows.

    ┌───────┬───────┬────┐  Chunks of CHUNK_ROWS rows, blocks of BLOCK_VECTORS vectors of channels.
    │ chunk │       │    │  One chunk: a thread makes both passes over a block, which stays in the
    │ block │       │    │  cache meanwhile. More: first the sums of every chunk, then the totals
    ├───────┼───────┼────┤  of every channel, then the result of every chunk, each pass in strips
    │       │       │    │  of some rows, so that memory is read nearly in its own order.
    └───────┴───────┴────┘

Which of both depends on the shape alone, and chunks are added up in their order: the result is the
same, bit by bit, at any number of threads.

The variance of a chunk is taken about its first row, and chunks are merged in double as Chan, Golub
and LeVeque (1983) do. The first row is one of the values, and thus cannot lie so far off that
cancellation costs more than about CHUNK_ROWS rounding errors. A constant channel has a variance of
exactly zero, and the constant for its mean.

The derivative of an activation is found from x, not from y: one array less to read, twice.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.kernels.normalization_passes cimport (
    BLOCK_VECTORS,
    GRADIENTS,
    GRADIENTS_OF_CONSTANTS,
    GRADIENT_SUMS,
    MOMENTS,
    NORMALIZE,
    NOTHING,
    STRIP_BYTES,
    STRIP_ROWS,
    Batch,
    Piece,
    choose_activation,
    chunk_count,
    vector_count,
)
from fastnn._core.simd cimport LANES, real, v_load, v_sqrt
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport from_end_of_share, run_tasks


cdef void do_chunk(
    int which, const Batch* b, Py_ssize_t chunk, Py_ssize_t first_channel, Py_ssize_t last_channel,
    Py_ssize_t strip_rows,
) noexcept nogil:
    """One pass over the rows of a chunk, some channels of them, strip by strip"""
    cdef Py_ssize_t chunks = chunk_count(b.rows)
    cdef Py_ssize_t first_row = chunk * b.rows // chunks, last_row = (chunk + 1) * b.rows // chunks
    cdef Piece p
    p.channel = first_channel
    # The gradients take what finish_gradient_sums left in the place of the first chunk.
    p.sums = b.sums + first_channel * 3
    if which != GRADIENTS:
        p.sums += chunk * vector_count(b.channels) * 3 * LANES
    p.row = first_row
    while p.row < last_row:
        p.rows = min(strip_rows, last_row - p.row)
        p.begins = p.row == first_row
        if which == MOMENTS:
            choose_activation(MOMENTS, b, &p, last_channel)
        elif which == NORMALIZE:
            choose_activation(NORMALIZE, b, &p, last_channel)
        elif which == GRADIENT_SUMS:
            choose_activation(GRADIENT_SUMS, b, &p, last_channel)
        elif which == GRADIENTS:
            choose_activation(GRADIENTS, b, &p, last_channel)
        else:
            choose_activation(GRADIENTS_OF_CONSTANTS, b, &p, last_channel)
        p.row += strip_rows


cdef void finish_moments(const Batch* b, Py_ssize_t vector) noexcept nogil:
    """The statistics of a vector of channels over all rows, from the moments of the chunks"""
    cdef double center[16]
    cdef double squares[16]
    cdef real batch_mean[16]
    cdef real variance[16]
    cdef double here, difference, mean_share, square_share, inverse_count
    cdef Py_ssize_t chunk, before, after, chunks = chunk_count(b.rows)
    cdef Py_ssize_t channel = vector * LANES, lanes = min(LANES, b.channels - vector * LANES)
    cdef real kept = 1 - b.momentum
    cdef real unbiased = b.momentum * <real>(b.rows / <double>max(1, b.rows - 1))
    cdef const real* sums = b.sums + vector * 3 * LANES
    cdef int lane
    for lane in range(LANES):
        center[lane] = sums[lane]
        squares[lane] = 0
    for chunk in range(chunks):
        before = chunk * b.rows // chunks
        after = (chunk + 1) * b.rows // chunks
        inverse_count = 1 / <double>(after - before)
        mean_share = (after - before) / <double>after
        square_share = mean_share * before
        for lane in range(LANES):
            here = sums[LANES + lane] * inverse_count
            difference = sums[lane] + here - center[lane]
            center[lane] += difference * mean_share
            squares[lane] += (sums[2 * LANES + lane] - here * sums[LANES + lane]
                              + difference * difference * square_share)
        sums += vector_count(b.channels) * 3 * LANES
    for lane in range(LANES):
        batch_mean[lane] = <real>center[lane]
        # Rounding may leave less than nothing; NaN stays NaN.
        variance[lane] = <real>(0.0 if squares[lane] < 0 else squares[lane] / b.rows)
    store_lanes(b.mean + channel, v_load(batch_mean), lanes)
    store_lanes(b.inverse_std + channel, 1 / v_sqrt(v_load(variance) + b.eps), lanes)
    if b.running_mean != NULL:
        store_lanes(b.running_mean + channel, kept * load_lanes(b.running_mean + channel, lanes)
                    + b.momentum * v_load(batch_mean), lanes)
    if b.running_var != NULL:
        store_lanes(b.running_var + channel, kept * load_lanes(b.running_var + channel, lanes)
                    + unbiased * v_load(variance), lanes)


cdef void finish_gradient_sums(const Batch* b, Py_ssize_t vector) noexcept nogil:
    """dweight and dbias of a vector of channels, and what GRADIENTS takes in the place of sums"""
    cdef double total[16]
    cdef double products[16]
    cdef double inverse_std
    cdef Py_ssize_t chunk, channel = vector * LANES
    cdef real* sums = b.sums + vector * 3 * LANES
    cdef int lane
    for lane in range(LANES):
        total[lane] = 0
        products[lane] = 0
    for chunk in range(chunk_count(b.rows)):  # no-cython-lint
        for lane in range(LANES):
            total[lane] += sums[lane]
            products[lane] += sums[LANES + lane]
        sums += vector_count(b.channels) * 3 * LANES
    sums = b.sums + vector * 3 * LANES
    for lane in range(<int>min(LANES, b.channels - channel)):
        inverse_std = b.inverse_std[channel + lane]
        sums[lane] = <real>(total[lane] / b.rows)
        sums[LANES + lane] = <real>(products[lane] * inverse_std * inverse_std / b.rows)
        if b.dbias != NULL:
            b.dbias[channel + lane] = <real>total[lane]
        if b.dweight != NULL:
            b.dweight[channel + lane] = <real>(products[lane] * inverse_std)


cdef inline void finish(int sums, const Batch* b, Py_ssize_t vector) noexcept nogil:
    if sums == MOMENTS:
        finish_moments(b, vector)
    else:
        finish_gradient_sums(b, vector)


cdef struct Passes:
    Batch b
    int sums             # the first pass, or NOTHING
    int results          # the second, after the totals of every channel, or NOTHING
    Py_ssize_t chunks
    Py_ssize_t strip     # rows
    int threads


cdef void do_block(const void* context, Py_ssize_t block, char* workspace) noexcept nogil:
    """Both passes over one block of the only chunk"""
    cdef const Passes* p = <const Passes*>context
    cdef Py_ssize_t first = block * BLOCK_VECTORS * LANES
    cdef Py_ssize_t last = min(p.b.channels, first + BLOCK_VECTORS * LANES)
    cdef Py_ssize_t vector
    if p.sums != NOTHING:
        do_chunk(p.sums, &p.b, 0, first, last, p.b.rows)
        for vector in range(block * BLOCK_VECTORS, vector_count(last)):
            finish(p.sums, &p.b, vector)
    if p.results != NOTHING:
        do_chunk(p.results, &p.b, 0, first, last, p.b.rows)


cdef void sum_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Passes* p = <const Passes*>context
    do_chunk(p.sums, &p.b, chunk, 0, p.b.channels, p.strip)


cdef void finish_vector(const void* context, Py_ssize_t vector, char* workspace) noexcept nogil:
    cdef const Passes* p = <const Passes*>context
    finish(p.sums, &p.b, vector)


cdef void result_of_chunk(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """Of a thread's chunks from the last to the first: the last ones are still in the cache."""
    cdef const Passes* p = <const Passes*>context
    do_chunk(p.results, &p.b, from_end_of_share(task, p.chunks, p.threads), 0, p.b.channels, p.strip)


cdef void two_passes(int sums, int results, const Batch* b, int threads) noexcept nogil:
    """Pass `sums`, the totals of every channel, then pass `results`; either may be NOTHING"""
    cdef Passes p = Passes(b[0], sums, results, chunk_count(b.rows), STRIP_ROWS, threads)
    cdef Py_ssize_t vectors = vector_count(b.channels)
    if p.chunks <= 1:
        run_tasks(do_block, &p, (vectors + BLOCK_VECTORS - 1) // BLOCK_VECTORS, NULL, 0, threads)
        return
    p.strip = max(p.strip, STRIP_BYTES // (b.channels * <Py_ssize_t>sizeof(real)))
    if sums != NOTHING:
        run_tasks(sum_chunk, &p, p.chunks, NULL, 0, threads)
        run_tasks(finish_vector, &p, vectors, NULL, 0, threads)
    if results != NOTHING:
        run_tasks(result_of_chunk, &p, p.chunks, NULL, 0, threads)


cdef void batchnorm_forward(
    real* y,                   # (rows, channels)
    real* mean,                # (channels,)
    real* inverse_std,         # (channels,)
    real* running_mean,        # (channels,) or NULL
    real* running_var,         # (channels,) or NULL
    int64_t* batches_tracked,  # (1,) or NULL
    const real* x,             # (rows, channels)
    const real* weight,        # (channels,) or NULL
    const real* bias,          # (channels,) or NULL
    Py_ssize_t rows, Py_ssize_t channels, int activation, real eps, double momentum, real slope,
    real* workspace,           # (chunks, vectors, 3, LANES)
    int threads,
) noexcept nogil:
    """y = f((x - mean) * inverse_std * weight + bias), by the mean and the biased variance of x

    running = (1 - momentum) * running + momentum * that of the batch, its variance unbiased; with a
    negative momentum the average over all batches so far, which `batches_tracked` counts.
    """
    cdef Batch b
    if batches_tracked != NULL:
        batches_tracked[0] += 1
        if momentum < 0:
            momentum = 1 / <double>batches_tracked[0]
    b.rows, b.channels, b.activation, b.slope = rows, channels, activation, slope
    b.result, b.x, b.sums = y, x, workspace
    b.mean, b.inverse_std, b.weight, b.bias, b.eps = mean, inverse_std, weight, bias, eps
    b.running_mean, b.running_var, b.momentum = running_mean, running_var, <real>momentum
    two_passes(MOMENTS, NORMALIZE, &b, threads)


cdef void batchnorm_inference(
    real* y,                   # (rows, channels), may be x
    real* mean,                # (channels,) or NULL
    real* inverse_std,         # (channels,) or NULL
    real* running_mean,        # (channels,)
    real* running_var,         # (channels,)
    const real* x,             # (rows, channels)
    const real* weight,        # (channels,) or NULL
    const real* bias,          # (channels,) or NULL
    Py_ssize_t rows, Py_ssize_t channels, int activation, real eps, real slope,
    real* workspace,           # (channels,) where inverse_std is NULL
    int threads,
) noexcept nogil:
    """y = f((x - mean) * inverse_std * weight + bias)

    mean = running_mean and inverse_std = 1 / sqrt(running_var + eps), kept for a backward pass.
    """
    cdef Py_ssize_t vector, channel, lanes
    cdef Batch b
    if inverse_std == NULL:
        inverse_std = workspace
    for vector in range(vector_count(channels)):
        channel = vector * LANES
        lanes = min(LANES, channels - channel)
        store_lanes(inverse_std + channel,
                    1 / v_sqrt(load_lanes(running_var + channel, lanes) + eps), lanes)
    if mean != NULL:
        memcpy(mean, running_mean, channels * sizeof(real))
    b.rows, b.channels, b.activation, b.slope = rows, channels, activation, slope
    b.result, b.x, b.sums = y, x, workspace
    b.mean, b.inverse_std, b.weight, b.bias = running_mean, inverse_std, weight, bias
    two_passes(NOTHING, NORMALIZE, &b, threads)


cdef void batchnorm_backward(
    real* dx,                  # (rows, channels) or NULL, may be dy
    real* dweight,             # (channels,) or NULL
    real* dbias,               # (channels,) or NULL
    const real* dy,            # (rows, channels)
    const real* x,             # (rows, channels)
    real* mean,                # (channels,)
    real* inverse_std,         # (channels,)
    const real* weight,        # (channels,) or NULL
    const real* bias,          # (channels,) or NULL; read if there is an activation
    Py_ssize_t rows, Py_ssize_t channels, int activation, bint training, real slope,
    real* workspace,           # (chunks, vectors, 3, LANES)
    int threads,
) noexcept nogil:
    """dx = weight inverse_std (dy' - mean(dy') - xhat mean(dy' xhat)), dweight = sum(dy' xhat),
    dbias = sum(dy'), where xhat = (x - mean) inverse_std and dy' = dy f'(xhat weight + bias)

    Unless `training`, the statistics were constants: dx = weight inverse_std dy'.
    """
    cdef int sums = NOTHING, results = NOTHING
    cdef Batch b
    if dx != NULL:
        results = GRADIENTS if training else GRADIENTS_OF_CONSTANTS
    if results == GRADIENTS or dweight != NULL or dbias != NULL:
        sums = GRADIENT_SUMS
    b.rows, b.channels, b.activation, b.slope = rows, channels, activation, slope
    b.result, b.dweight, b.dbias, b.dy, b.x, b.sums = dx, dweight, dbias, dy, x, workspace
    b.mean, b.inverse_std, b.weight, b.bias = mean, inverse_std, weight, bias
    two_passes(sums, results, &b, threads)


cdef void run_batchnorm_forward(const Step* s) noexcept nogil:
    batchnorm_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                      <real*>s.data[4], <int64_t*>s.data[5], <real*>s.data[6], <real*>s.data[7],
                      <real*>s.data[8], s.size[0], s.size[1], <int>s.size[2], <real>s.scalar[0],
                      s.scalar[1], <real>s.scalar[2], <real*>s.workspace, s.threads)


cdef void run_batchnorm_inference(const Step* s) noexcept nogil:
    batchnorm_inference(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                        <real*>s.data[4], <real*>s.data[5], <real*>s.data[6], <real*>s.data[7],
                        s.size[0], s.size[1], <int>s.size[2], <real>s.scalar[0],
                        <real>s.scalar[1], <real*>s.workspace, s.threads)


cdef void run_batchnorm_backward(const Step* s) noexcept nogil:
    batchnorm_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                       <real*>s.data[4], <real*>s.data[5], <real*>s.data[6], <real*>s.data[7],
                       <real*>s.data[8], s.size[0], s.size[1], <int>s.size[2], s.size[3],
                       <real>s.scalar[0], <real*>s.workspace, s.threads)


KERNELS = {
    "batchnorm_forward": publish(run_batchnorm_forward),
    "batchnorm_inference": publish(run_batchnorm_inference),
    "batchnorm_backward": publish(run_batchnorm_backward),
}
