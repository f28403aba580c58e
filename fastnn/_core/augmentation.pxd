from libc.stdint cimport int64_t, uint64_t

from fastnn._core.step cimport Step


cdef class Augmentation:
    cdef Step step
    cdef uint64_t key
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef object scale, shift
    cdef public Py_ssize_t place

    cdef void fill(self, void* batch, void* images, const int64_t* indices, Py_ssize_t first,
                   Py_ssize_t count, int threads) noexcept nogil
