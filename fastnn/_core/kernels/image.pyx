"""Images between the layout that users see and the channels-last one of the kernels, and padding.

A change of layout is the transpose of a matrix (channels, pixels) or (pixels, channels), done in
squares of LANES x LANES in registers. Three channels have a way of their own, since most of a
square would be empty. Pieces of work are blocks of pixels, so that a single image is shared too.
"""

from libc.string cimport memcpy, memset

from fastnn._core.kernels.matmul cimport transpose_square
from fastnn._core.simd cimport (
    LANES,
    real,
    v_every_third,
    v_interleave_three,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Pixels of a piece of work.
    PIECE = 512
    # Pixels that are done for some channels before the next channels: whole cache lines are
    # written before they leave the cache.
    STRIP = 64


cdef inline void transpose_one(
    real* y, const real* x, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t y_row, Py_ssize_t x_row,
) noexcept nogil:
    """y (columns, rows) = x (rows, columns) transposed, neither larger than LANES"""
    cdef vreal square[16]
    cdef Py_ssize_t i
    if rows == LANES and columns == LANES:
        for i in range(LANES):
            square[i] = v_load(x + i * x_row)
        transpose_square(square)
        for i in range(LANES):
            v_store(y + i * y_row, square[i])
        return
    for i in range(LANES):
        square[i] = v_load_first(x + i * x_row, columns) if i < rows else v_set(0)
    transpose_square(square)
    for i in range(LANES):
        if i < columns:
            v_store_first(y + i * y_row, square[i], rows)


cdef void convert_squares(
    real* y, const real* x, Py_ssize_t channels, Py_ssize_t pixels, bint to_last,
    Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """Pixels `first` to `last` of an image between (channels, pixels) and (pixels, channels)"""
    cdef Py_ssize_t strip, channel, pixel, end, height, width, plain, channels_last
    for strip in range((last - first + STRIP - 1) // STRIP):
        end = min(last, first + (strip + 1) * STRIP)
        channel = 0
        while channel < channels:
            height = min(<Py_ssize_t>LANES, channels - channel)
            pixel = first + strip * STRIP
            while pixel < end:
                width = min(<Py_ssize_t>LANES, end - pixel)
                plain = channel * pixels + pixel
                channels_last = pixel * channels + channel
                if to_last:
                    transpose_one(y + channels_last, x + plain, height, width, channels, pixels)
                else:
                    transpose_one(y + plain, x + channels_last, width, height, pixels, channels)
                pixel += LANES
            channel += LANES


cdef void three_to_last(
    real* y, const real* x, Py_ssize_t pixels, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """The same as convert_squares to the last for three channels"""
    cdef vreal a, b, c
    cdef Py_ssize_t pixel = first
    while pixel + LANES <= last:
        a = v_load(x + pixel)
        b = v_load(x + pixels + pixel)
        c = v_load(x + 2 * pixels + pixel)
        v_store(y + 3 * pixel, v_interleave_three(a, b, c, 0))
        v_store(y + 3 * pixel + LANES, v_interleave_three(a, b, c, 1))
        v_store(y + 3 * pixel + 2 * LANES, v_interleave_three(a, b, c, 2))
        pixel += LANES
    if pixel < last:
        convert_squares(y, x, 3, pixels, True, pixel, last)


cdef void three_to_first(
    real* y, const real* x, Py_ssize_t pixels, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """The same as convert_squares from the last for three channels"""
    cdef vreal a, b, c
    cdef Py_ssize_t pixel = first
    while pixel + LANES <= last:
        a = v_load(x + 3 * pixel)
        b = v_load(x + 3 * pixel + LANES)
        c = v_load(x + 3 * pixel + 2 * LANES)
        v_store(y + pixel, v_every_third(a, b, c, 0))
        v_store(y + pixels + pixel, v_every_third(a, b, c, 1))
        v_store(y + 2 * pixels + pixel, v_every_third(a, b, c, 2))
        pixel += LANES
    if pixel < last:
        convert_squares(y, x, 3, pixels, False, pixel, last)


cdef struct Conversion:
    real* y
    const real* x
    Py_ssize_t channels
    Py_ssize_t pixels
    Py_ssize_t pieces    # of an image
    bint to_last


cdef void convert_piece(const void* context, Py_ssize_t piece, char* workspace) noexcept nogil:
    """Piece `piece` of all pieces of all images"""
    cdef const Conversion* job = <const Conversion*>context
    cdef Py_ssize_t image = piece // job.pieces
    cdef Py_ssize_t first = (piece - image * job.pieces) * PIECE
    cdef Py_ssize_t last = min(job.pixels, first + PIECE)
    cdef real* y = job.y + image * job.channels * job.pixels
    cdef const real* x = job.x + image * job.channels * job.pixels
    if job.channels != 3:
        convert_squares(y, x, job.channels, job.pixels, job.to_last, first, last)
    elif job.to_last:
        three_to_last(y, x, job.pixels, first, last)
    else:
        three_to_first(y, x, job.pixels, first, last)


cdef void convert_images(
    real* y, const real* x, Py_ssize_t images, Py_ssize_t channels, Py_ssize_t pixels,
    bint to_last, int threads,
) noexcept nogil:
    cdef Conversion job = Conversion(y, x, channels, pixels, (pixels + PIECE - 1) // PIECE, to_last)
    run_tasks(convert_piece, &job, images * job.pieces, NULL, 0, threads)


cdef void images_to_channels_last(
    real* y,             # (images, pixels, channels)
    const real* x,       # (images, channels, pixels)
    Py_ssize_t images, Py_ssize_t channels, Py_ssize_t pixels, int threads,
) noexcept nogil:
    convert_images(y, x, images, channels, pixels, True, threads)


cdef void images_to_plain(
    real* y,             # (images, channels, pixels)
    const real* x,       # (images, pixels, channels)
    Py_ssize_t images, Py_ssize_t channels, Py_ssize_t pixels, int threads,
) noexcept nogil:
    convert_images(y, x, images, channels, pixels, False, threads)


cdef struct Frame:
    # An image of rows of elements (pixels times channels) inside a larger one.
    Py_ssize_t images
    Py_ssize_t height
    Py_ssize_t row
    Py_ssize_t top
    Py_ssize_t left
    Py_ssize_t outer_height
    Py_ssize_t outer_row

cdef struct Framing:
    const Frame* f
    real* y
    const real* x


cdef void pad_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all padded rows of all images"""
    cdef const Framing* job = <const Framing*>context
    cdef const Frame* f = job.f
    cdef real* y = job.y + row * f.outer_row
    cdef Py_ssize_t image = row // f.outer_height
    cdef Py_ssize_t inside = row - image * f.outer_height - f.top
    if inside < 0 or inside >= f.height:
        memset(y, 0, f.outer_row * sizeof(real))
        return
    memset(y, 0, f.left * sizeof(real))
    memcpy(y + f.left, job.x + (image * f.height + inside) * f.row, f.row * sizeof(real))
    memset(y + f.left + f.row, 0, (f.outer_row - f.left - f.row) * sizeof(real))


cdef void crop_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    """Row `row` of all cropped rows of all images"""
    cdef const Framing* job = <const Framing*>context
    cdef const Frame* f = job.f
    cdef Py_ssize_t image = row // f.height
    cdef Py_ssize_t outer = image * f.outer_height + f.top + row - image * f.height
    memcpy(job.y + row * f.row, job.x + outer * f.outer_row + f.left, f.row * sizeof(real))


cdef void pad_images(
    real* y,             # (images, outer_height, outer_row)
    const real* x,       # (images, height, row)
    const Frame* f, int threads,
) noexcept nogil:
    """y = x inside a frame of zeros"""
    cdef Framing job = Framing(f, y, x)
    run_tasks(pad_row, &job, f.images * f.outer_height, NULL, 0, threads)


cdef void crop_images(
    real* y,             # (images, height, row)
    const real* x,       # (images, outer_height, outer_row)
    const Frame* f, int threads,
) noexcept nogil:
    """y = x without its frame"""
    cdef Framing job = Framing(f, y, x)
    run_tasks(crop_row, &job, f.images * f.height, NULL, 0, threads)


cdef inline Frame frame_of(const Step* s) noexcept nogil:
    """The order of fastnn/_compiler/operators/image.py."""
    return Frame(s.size[0], s.size[1], s.size[2], s.size[3], s.size[4], s.size[5], s.size[6])


cdef void run_images_to_channels_last(const Step* s) noexcept nogil:
    images_to_channels_last(<real*>s.data[0], <real*>s.data[1],
                            s.size[0], s.size[1], s.size[2], s.threads)


cdef void run_images_to_plain(const Step* s) noexcept nogil:
    images_to_plain(<real*>s.data[0], <real*>s.data[1],
                    s.size[0], s.size[1], s.size[2], s.threads)


cdef void run_pad_images(const Step* s) noexcept nogil:
    cdef Frame f = frame_of(s)
    pad_images(<real*>s.data[0], <real*>s.data[1], &f, s.threads)


cdef void run_crop_images(const Step* s) noexcept nogil:
    cdef Frame f = frame_of(s)
    crop_images(<real*>s.data[0], <real*>s.data[1], &f, s.threads)


KERNELS = {
    "images_to_channels_last": publish(run_images_to_channels_last),
    "images_to_plain": publish(run_images_to_plain),
    "pad_images": publish(run_pad_images),
    "crop_images": publish(run_crop_images),
}
