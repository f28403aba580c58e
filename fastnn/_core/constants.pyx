"""Constants: what a program computes once, and whether what it was computed of is still the same.

Nobody looks at the weights for that. Runs with updates are counted, and as long as one is under way
nothing holds; `Parameter.data` counts as a change each time that it is asked for; and as long as
somebody holds a view of a parameter's memory, which its reference count tells, nothing holds
either. Buffers such as running averages are small, and are compared.
"""

import numpy as np

cimport numpy as cnp
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* thing)

# Counts what may have changed parameters: runs with updates, and views of them that were handed out.
cdef uint64_t value_changes = 0
# Runs with updates that have not ended. They are counted, by whoever has the interpreter, as a whole:
# trainings side by side that all wrote to one place at each step would wait for it to come over from
# the other's core.
cdef Py_ssize_t updates_under_way = 0


def note_value_change():
    """Tells programs that a parameter's values may change: what they keep of it is stale."""
    global value_changes
    value_changes += 1


cdef void begin_updates() noexcept:
    """Until `end_updates`, whatever a program keeps of parameters is stale."""
    global updates_under_way
    updates_under_way += 1


cdef void end_updates() noexcept:
    global updates_under_way
    updates_under_way -= 1
    note_value_change()


cdef class Constants:
    """The first steps of a program, which run only when something may have changed that they read.

    Parameters
    ----------
    count : how many steps
    owners : pairs of an array and how many views of the memory behind it are fastnn's own
    buffers : arrays that are compared with what they were
    """

    def __init__(self, Py_ssize_t count, owners, buffers):
        self.count = count
        self.owners = list(owners)
        self.buffers = [(array, np.empty_like(array)) for array in buffers]
        self.are_computed = False

    cdef bint are_stale(self) except -1:
        cdef cnp.ndarray view, array, copy
        cdef Py_ssize_t expected
        if not self.are_computed or updates_under_way or self.seen_changes != value_changes:
            return True
        for view, expected in self.owners:
            if Py_REFCNT(<PyObject*>cnp.PyArray_BASE(view)) > expected:
                return True
        for array, copy in self.buffers:
            if memcmp(cnp.PyArray_DATA(array), cnp.PyArray_DATA(copy), cnp.PyArray_NBYTES(array)):
                return True
        return False

    cdef int note_sources(self) except -1:
        """Keeps what is compared later, before the steps run."""
        self.seen_changes = value_changes
        for array, copy in self.buffers:
            copy[...] = array
        return 0
