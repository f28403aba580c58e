"""Images between the layout that users see and the channels-last one of the kernels."""

from cython.parallel cimport prange

from fastnn._core.simd cimport real
from fastnn._core.step cimport Step, publish


cdef void transpose_image(
    real* y, const real* x, Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    cdef Py_ssize_t row, column
    for row in range(rows):
        for column in range(columns):
            y[column * rows + row] = x[row * columns + column]


cdef void transpose_images(
    real* y,             # (images, columns, rows)
    const real* x,       # (images, rows, columns)
    Py_ssize_t images, Py_ssize_t rows, Py_ssize_t columns, int threads,
) noexcept nogil:
    """Each matrix transposed"""
    cdef Py_ssize_t image, size = rows * columns
    if threads == 1:
        for image in range(images):
            transpose_image(y + image * size, x + image * size, rows, columns)
        return
    for image in prange(images, schedule="static", num_threads=threads):
        transpose_image(y + image * size, x + image * size, rows, columns)


cdef void run_transpose_images(const Step* s) noexcept nogil:
    transpose_images(<real*>s.data[0], <real*>s.data[1], s.size[0], s.size[1], s.size[2], s.threads)


KERNELS = {"transpose_images": publish(run_transpose_images)}
