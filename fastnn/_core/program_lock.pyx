"""Who runs a program now: its memory serves one thread at a time.

threading.Lock would do, but is asked for through the interpreter, and does not know its owner: a
callback that calls the step which is running it has to get an error instead of waiting for itself.
"""

from cpython.exc cimport PyErr_CheckSignals

from fastnn._core.threads cimport fork_count

cdef extern from "pythread.h":
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds,
                                    int interruptible) nogil
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()
    enum:
        PY_LOCK_ACQUIRED

cdef enum:
    # How long a thread waits for another's run before it looks at signals.
    WAIT_MICROSECONDS = 50_000


cdef class ProgramLock:

    def __cinit__(self):
        self.renew()

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int renew(self) except -1:
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError("no memory for the lock of a program")
        self.owner, self.forks = 0, fork_count()
        return 0

    cdef int acquire(self) except -1:
        """Takes the program for this thread; waits, with Ctrl-C working, while another runs it."""
        cdef int state
        if self.forks != fork_count():
            self.renew()  # whoever held it stayed behind in the parent process
        state = PyThread_acquire_lock_timed(self.lock, 0, 0)
        while state != PY_LOCK_ACQUIRED:
            if self.owner == PyThread_get_thread_ident():
                raise RuntimeError("a callback called the step or module that is just running")
            with nogil:
                state = PyThread_acquire_lock_timed(self.lock, WAIT_MICROSECONDS, 1)
            if state != PY_LOCK_ACQUIRED:
                PyErr_CheckSignals()
        self.owner = PyThread_get_thread_ident()
        return 0

    cdef void release(self) noexcept:
        self.owner = 0
        PyThread_release_lock(self.lock)
