from libc.stdint cimport int64_t

from fastnn._core.augmentation cimport Augmentation
from fastnn._core.program cimport Program

cdef enum:
    MAX_INPUTS = 8

cdef struct RowsOfInput:
    # An input's rows in the caller's memory, and a place to gather a batch of them.
    char* data
    char* staged
    Py_ssize_t row_bytes


cdef class Feed:
    cdef readonly Program program
    cdef readonly Augmentation augmentation
    cdef readonly list arrays    # kept alive while rows point into them
    cdef readonly Py_ssize_t examples, batch_size
    cdef RowsOfInput rows[MAX_INPUTS]
    cdef Py_ssize_t inputs

    cdef int accept(self, list arrays) except -1
    cdef void point(self, const int64_t* order, Py_ssize_t first, Py_ssize_t count) noexcept nogil
