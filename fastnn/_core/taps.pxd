cdef struct Tap:
    # After step `step` the first bytes of `value` are copied: a part for each example of the batch, at
    # the most `examples`.
    Py_ssize_t step
    const char* value
    char* copy
    Py_ssize_t bytes_per_example
    Py_ssize_t examples


cdef class Taps:
    cdef Tap* table
    cdef readonly Py_ssize_t count
    cdef list lists               # own the memory that is copied to
    cdef object memory            # of the table

    cdef void take(self, Py_ssize_t index, Py_ssize_t batch) noexcept nogil
