"""Images of bytes, cropped and flipped at random, as numbers: a batch for a network.

    bytes of an image ──crop, flip──▶ block of bytes on the stack ──scale, shift──▶ reals of the batch

What is random comes from a hash of the key and of the image's place in the epoch, so that an epoch
is the same in any batches and at any number of threads.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from fastnn._core.simd cimport real
from fastnn._core.splitmix cimport random_bits
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Bytes that are gathered before they are converted: whole rows that stay in the first cache.
    BLOCK = 4096


cdef struct Crop:
    # Pixel (row, column) of the result is (row + down, column + right) of the image, or its mirror
    # image; beyond the image all is 0.
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t down
    Py_ssize_t right
    bint flipped


cdef inline Py_ssize_t random_offset(uint64_t bits, Py_ssize_t padding) noexcept nogil:
    """A whole number from -padding to padding, of 31 random bits."""
    return <Py_ssize_t>(((bits & 0x7FFFFFFF) * <uint64_t>(2 * padding + 1)) >> 31) - padding


cdef inline Crop random_crop(
    Py_ssize_t height, Py_ssize_t width, Py_ssize_t padding, bint flip, uint64_t key,
    uint64_t place,
) noexcept nogil:
    cdef uint64_t bits = random_bits(key, place + 1)
    return Crop(height, width, random_offset(bits, padding), random_offset(bits >> 31, padding),
                flip and (bits >> 62) & 1)


cdef inline void crop_row(
    uint8_t* y,              # (last - first,)
    const uint8_t* x,        # (width,)
    const Crop* crop, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """Columns `first` to `last` of a row of the result."""
    cdef Py_ssize_t begin, end, column
    # Where in the result the image begins and ends.
    if crop.flipped:
        begin = max(first, crop.right)
        end = min(last, crop.width + crop.right)
    else:
        begin = max(first, -crop.right)
        end = min(last, crop.width - crop.right)
    if begin >= end:
        memset(y, 0, last - first)
        return
    if begin > first:
        memset(y, 0, begin - first)
    if end < last:
        memset(y + end - first, 0, last - end)
    y += begin - first
    if crop.flipped:
        x += crop.width - 1 + crop.right - begin
        for column in range(end - begin):
            y[column] = x[-column]
    else:
        memcpy(y, x + begin + crop.right, end - begin)


cdef inline void crop_rows(
    uint8_t* y,              # (count, last - first)
    const uint8_t* x,        # (height, width)
    const Crop* crop, Py_ssize_t row, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """Columns `first` to `last` of `count` rows of the result, from `row` on."""
    cdef Py_ssize_t i, source
    for i in range(count):
        source = row + i + crop.down
        if 0 <= source < crop.height:
            crop_row(y + i * (last - first), x + source * crop.width, crop, first, last)
        else:
            memset(y + i * (last - first), 0, last - first)


cdef inline void convert(
    real* y,                 # (n,)
    const uint8_t* x,        # (n,)
    Py_ssize_t n, real scale, real shift,
) noexcept nogil:
    """y = x scale + shift"""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <real>x[i] * scale + shift


cdef void augment_plane(
    real* y,                 # (height, width)
    const uint8_t* x,        # (height, width)
    const Crop* crop, real scale, real shift,
) noexcept nogil:
    """One channel of an image"""
    cdef uint8_t block[BLOCK]
    # Whole rows, or parts of a row that is longer than a block.
    cdef Py_ssize_t columns = min(crop.width, <Py_ssize_t>BLOCK)
    cdef Py_ssize_t rows = BLOCK // columns
    cdef Py_ssize_t row = 0, count, first, last
    if columns < crop.width:
        rows = 1
    while row < crop.height:
        count = min(rows, crop.height - row)
        first = 0
        while first < crop.width:
            last = min(crop.width, first + columns)
            crop_rows(block, x, crop, row, count, first, last)
            convert(y + row * crop.width + first, block, count * (last - first), scale, shift)
            first = last
        row += count


cdef struct Batch:
    # What all images of a batch share: the arguments of `augment_images_forward`.
    Py_ssize_t channels
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t padding
    bint flip
    Py_ssize_t place
    uint64_t key


cdef struct Job:
    real* y
    const uint8_t* x
    const int64_t* indices   # or NULL
    const real* scale
    const real* shift
    const Batch* batch


cdef void augment_image_plane(const void* context, Py_ssize_t plane, char* workspace) noexcept nogil:
    """Plane `plane` of all channels of all images"""
    cdef const Job* job = <const Job*>context
    cdef const Batch* b = job.batch
    cdef Py_ssize_t image = plane // b.channels, area = b.height * b.width
    cdef Py_ssize_t channel = plane - image * b.channels
    cdef Py_ssize_t index = image if job.indices == NULL else <Py_ssize_t>job.indices[image]
    cdef Crop crop = random_crop(b.height, b.width, b.padding, b.flip, b.key,
                                 <uint64_t>(b.place + image))
    augment_plane(job.y + plane * area, job.x + (index * b.channels + channel) * area, &crop,
                  job.scale[channel], job.shift[channel])


cdef void augment_images_forward(
    real* y,                 # (images, channels, height, width)
    const uint8_t* x,        # (data set, channels, height, width)
    const int64_t* indices,  # (images,), or NULL: image i of the batch is image i of the data set
    const real* scale,       # (channels,)
    const real* shift,       # (channels,)
    Py_ssize_t images, const Batch* b, int threads,
) noexcept nogil:
    """y = x[indices] scale + shift, of crops of x inside `padding` zeros; image i is `place + i`"""
    cdef Job job = Job(y, x, indices, scale, shift, b)
    run_tasks(augment_image_plane, &job, images * b.channels, NULL, 0, threads)


cdef void run_augment_images_forward(const Step* s) noexcept nogil:
    cdef Batch b = Batch(s.size[1], s.size[2], s.size[3], s.size[4], s.size[5] != 0, s.size[6],
                         s.random_key[0])
    augment_images_forward(
        <real*>s.data[0], <uint8_t*>s.data[1], <int64_t*>s.data[2], <real*>s.data[3],
        <real*>s.data[4], s.size[0], &b, s.threads)


KERNELS = {"augment_images_forward": publish(run_augment_images_forward)}
