from libc.stdint cimport int64_t, uint64_t


cdef void shuffle(int64_t* order, Py_ssize_t count, uint64_t seed, uint64_t epoch) noexcept nogil
