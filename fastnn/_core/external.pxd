cimport numpy as cnp
from libc.stdint cimport int64_t


cdef class External:
    cdef readonly str name
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly Py_ssize_t classes
    cdef readonly int64_t ignore_index
    cdef readonly bint batched
    cdef int type_number
    cdef cnp.ndarray array       # kept alive while steps point into it
    cdef cnp.ndarray staging     # rows gathered by `epoch`, labels copied by `bind`
    cdef Py_ssize_t row_bytes

    cdef char* staged(self, Py_ssize_t capacity) except NULL
    cdef cnp.ndarray accept(self, object value)
    cdef int check_labels(self, cnp.ndarray array) except -1
