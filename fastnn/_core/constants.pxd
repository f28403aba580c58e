from libc.stdint cimport uint64_t


cdef class Constants:
    cdef readonly Py_ssize_t count  # how many steps, the first of the program
    cdef bint are_computed
    cdef uint64_t seen_changes
    cdef list owners                # (view that keeps the owner alive, references that are ours)
    cdef list buffers               # (array, copy)

    cdef bint are_stale(self) except -1
    cdef int note_sources(self) except -1


cdef void begin_updates() noexcept
cdef void end_updates() noexcept
