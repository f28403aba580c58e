"""Who runs a program now: its memory serves one thread at a time."""

cdef extern from "pythread.h":
    ctypedef void* PyThread_type_lock


cdef class ProgramLock:
    cdef PyThread_type_lock lock
    cdef unsigned long owner
    cdef int forks

    cdef int renew(self) except -1
    cdef int acquire(self) except -1
    cdef void release(self) noexcept
