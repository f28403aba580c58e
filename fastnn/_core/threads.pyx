"""How many threads a kernel may use: the one place that decides it.

Kernels run on 1 thread or on the whole team, whose size is this thread's own limit, else the
process's number. In a forked child it is 1: the OpenMP runtime's workers do not survive a fork,
and a child that waited for them would hang.
"""

import os

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject* PyThreadState_GetDict()

cdef extern from "pthread.h" nogil:
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept,
                       void (*child)() noexcept)

cdef int process_threads = 1
# How many forks lie between the process that imported this and the present one.
cdef int forks = 0
cdef str LIMIT_KEY = "fastnn.threads"


cdef void remember_fork() noexcept nogil:
    global forks
    forks += 1


cdef int team_size():
    cdef PyObject* state = PyThreadState_GetDict()
    cdef PyObject* limit = NULL
    if forks:
        return 1
    if state != NULL:
        limit = PyDict_GetItem(<object>state, LIMIT_KEY)
    return process_threads if limit == NULL else <int><object>limit


cdef int fork_count() noexcept:
    return forks


def available_processors():
    """Processors that this process may run on; OMP_NUM_THREADS lowers or raises it."""
    requested = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if requested.isdigit() and int(requested) > 0:
        return int(requested)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_process_threads(int count):
    global process_threads
    process_threads = count


def get_threads():
    return team_size()


def get_thread_limit():
    """This Python thread's own limit, or None."""
    cdef PyObject* limit = PyDict_GetItem(<object>PyThreadState_GetDict(), LIMIT_KEY)
    return None if limit == NULL else <object>limit


def set_thread_limit(count):
    """Sets (or with None removes) the limit of the Python thread that calls."""
    state = <object>PyThreadState_GetDict()
    if count is None:
        state.pop(LIMIT_KEY, None)
    else:
        state[LIMIT_KEY] = int(count)


pthread_atfork(NULL, NULL, remember_fork)
set_process_threads(available_processors())
