"""Dropout whose mask is never stored: a hash tells, forward and backward, which elements are kept.

    key of the run, salt of the layer, chunk ──mix64──▶ two keys of 32 bits
    element of the chunk ──mix32, keyed twice──▶ 32 random bits, compared with p

The hash is of integers alone, so that the mask is the same for both precisions, on every
instruction set and at any number of threads.
"""

from libc.stdint cimport uint32_t, uint64_t

from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_store, v_store_first
from fastnn._core.splitmix cimport mix64, random_bits
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Elements that share a key: a part of the mask's definition, and of the work.
    CHUNK = 4096
    # Elements whose factors are computed before they are used: a whole number of vectors.
    BLOCK = 64


cdef struct Mask:
    uint64_t stream          # of random numbers, by the run and the layer
    uint32_t dropped_below   # p in units of 2^-32
    real scale               # of what is kept

cdef struct Job:
    Mask mask
    real* y
    const real* x
    Py_ssize_t n             # elements in all, where each has a random number
    Py_ssize_t pixels        # of an image, where each of its channels has one
    Py_ssize_t channels


cdef inline Mask mask_of(const Py_ssize_t salt, const double p, const uint64_t random_key) noexcept nogil:
    # A p closer to 1 than one of its units counts as the largest below; of 1 itself nothing is kept.
    return Mask(mix64(random_key + mix64(<uint64_t>salt + 1)),
                <uint32_t>min(max(p, 0.0) * 4294967296.0, 4294967295.0),
                <real>(0.0 if p >= 1 else 1.0 / (1.0 - p)))


cdef inline uint32_t mix32(uint32_t x) noexcept nogil:
    """A bijection in which each bit of x changes half of the bits (Wellons, Hash Prospector)."""
    x = (x ^ (x >> 16)) * <uint32_t>0x21F0AAAD
    x = (x ^ (x >> 15)) * <uint32_t>0xD35A2D97
    return x ^ (x >> 15)


cdef inline void random_factors(
    real* factor,            # (BLOCK,)
    uint32_t first, uint32_t low_key, uint32_t high_key, const Mask* mask,
) noexcept nogil:
    """factor = scale with probability 1 - p, else 0, for elements `first` ... of a chunk."""
    cdef uint32_t i, random, dropped_below = mask.dropped_below
    cdef real scale = mask.scale
    for i in range(BLOCK):
        random = mix32(mix32((first + i) ^ low_key) ^ high_key)
        factor[i] = scale if random >= dropped_below else <real>0


cdef void dropout_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    """One chunk of the elements, with random numbers of its own"""
    cdef const Job* job = <const Job*>context
    cdef real* y = job.y + chunk * CHUNK
    cdef const real* x = job.x + chunk * CHUNK
    cdef real factor[BLOCK]
    cdef uint64_t key = random_bits(job.mask.stream, <uint64_t>chunk)
    cdef Py_ssize_t n = min(CHUNK, job.n - chunk * CHUNK), block, first, count, i
    cdef uint32_t low_key = <uint32_t>key
    cdef uint32_t high_key = <uint32_t>(key >> 32)
    for block in range((n + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        random_factors(factor, <uint32_t>first, low_key, high_key, &job.mask)
        count = min(BLOCK, n - first)
        i = 0
        while i + LANES <= count:
            v_store(y + first + i, v_load(x + first + i) * v_load(factor + i))
            i += LANES
        if i < count:
            v_store_first(y + first + i,
                          v_load_first(x + first + i, count - i) * v_load(factor + i), count - i)


cdef void dropout_forward(
    real* y,                 # (n,)
    const real* x,           # (n,)
    Py_ssize_t n, Py_ssize_t salt, double p, uint64_t random_key, int threads,
) noexcept nogil:
    """y = x / (1 - p) with probability 1 - p, else x 0 (NaN where x is no number); y may be x"""
    cdef Job job
    job.mask, job.y, job.x, job.n = mask_of(salt, p, random_key), y, x, n
    run_tasks(dropout_chunk, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


cdef void dropout_backward(
    real* dx,                # (n,)
    const real* dy,          # (n,)
    Py_ssize_t n, Py_ssize_t salt, double p, uint64_t random_key, int threads,
) noexcept nogil:
    """dx = dy / (1 - p) where the forward pass of the same key kept x, else dy 0; dx may be dy"""
    dropout_forward(dx, dy, n, salt, p, random_key, threads)


cdef void drop_channels_of_image(const void* context, Py_ssize_t piece, char* workspace) noexcept nogil:
    """Piece `piece` of all blocks of channels of all images, in all pixels of its image"""
    cdef const Job* job = <const Job*>context
    cdef real factor[BLOCK]
    cdef Py_ssize_t channels = job.channels
    cdef Py_ssize_t blocks = (channels + BLOCK - 1) // BLOCK
    cdef Py_ssize_t image = piece // blocks
    cdef Py_ssize_t first = (piece - image * blocks) * BLOCK
    cdef Py_ssize_t pixel, i, count = min(<Py_ssize_t>BLOCK, channels - first)
    cdef uint64_t key = random_bits(job.mask.stream, <uint64_t>image)
    cdef real* y = job.y + image * job.pixels * channels + first
    cdef const real* x = job.x + image * job.pixels * channels + first
    random_factors(factor, <uint32_t>first, <uint32_t>key, <uint32_t>(key >> 32), &job.mask)
    for pixel in range(job.pixels):  # no-cython-lint
        i = 0
        while i + LANES <= count:
            v_store(y + i, v_load(x + i) * v_load(factor + i))
            i += LANES
        if i < count:
            v_store_first(y + i, v_load_first(x + i, count - i) * v_load(factor + i), count - i)
        y += channels
        x += channels


cdef void dropout_channels_forward(
    real* y,                 # (images, pixels, channels)
    const real* x,           # (images, pixels, channels)
    Py_ssize_t images, Py_ssize_t pixels, Py_ssize_t channels, Py_ssize_t salt, double p,
    uint64_t random_key, int threads,
) noexcept nogil:
    """The same for whole channels of an image: one random number for each"""
    cdef Py_ssize_t pieces = images * ((channels + BLOCK - 1) // BLOCK)
    cdef Job job
    job.mask, job.y, job.x = mask_of(salt, p, random_key), y, x
    job.pixels, job.channels = pixels, channels
    run_tasks(drop_channels_of_image, &job, pieces, NULL, 0, threads)


cdef void dropout_channels_backward(
    real* dx,                # (images, pixels, channels)
    const real* dy,          # (images, pixels, channels)
    Py_ssize_t images, Py_ssize_t pixels, Py_ssize_t channels, Py_ssize_t salt, double p,
    uint64_t random_key, int threads,
) noexcept nogil:
    """dx = dy / (1 - p) in the channels that the forward pass of the same key kept, else dy 0"""
    dropout_channels_forward(dx, dy, images, pixels, channels, salt, p, random_key, threads)


cdef void run_dropout_forward(const Step* s) noexcept nogil:
    dropout_forward(<real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1], s.scalar[0],
                    s.random_key[0], s.threads)


cdef void run_dropout_backward(const Step* s) noexcept nogil:
    dropout_backward(<real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1], s.scalar[0],
                     s.random_key[0], s.threads)


cdef void run_dropout_channels_forward(const Step* s) noexcept nogil:
    dropout_channels_forward(<real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1], s.size[2],
                             s.size[3], s.scalar[0], s.random_key[0], s.threads)


cdef void run_dropout_channels_backward(const Step* s) noexcept nogil:
    dropout_channels_backward(<real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1], s.size[2],
                              s.size[3], s.scalar[0], s.random_key[0], s.threads)


KERNELS = {
    "dropout_forward": publish(run_dropout_forward),
    "dropout_backward": publish(run_dropout_backward),
    "dropout_channels_forward": publish(run_dropout_channels_forward),
    "dropout_channels_backward": publish(run_dropout_channels_backward),
}
