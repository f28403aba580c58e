"""A step: one kernel with everything that it needs, as a Program runs it."""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint64_t

cdef enum:
    # Enough for the kernels with the most operands; a Program refuses a step that has more.
    MAX_DATA = 12
    MAX_SIZES = 20
    MAX_SCALARS = 8

cdef struct Step

# Reads and writes what the step points to. No Python, no allocation, no exception.
ctypedef void (*Kernel)(const Step* step) noexcept nogil

cdef struct Step:
    Kernel run
    void* data[MAX_DATA]          # outputs before inputs; NULL where an optional one is absent
    Py_ssize_t size[MAX_SIZES]    # at the current batch
    double scalar[MAX_SCALARS]
    char* workspace               # `threads` pieces of `workspace_per_thread` bytes
    Py_ssize_t workspace_per_thread
    char* shared_workspace        # one piece for the whole team, behind those of the threads
    int threads                   # 1, or the whole team: the program decides by the work there is
    const uint64_t* random_key    # changes with each run of a training program


cdef inline object publish(Kernel kernel):
    """A kernel as a Python object that a Program takes; checked by name when it is taken."""
    return PyCapsule_New(<void*>kernel, b"fastnn.kernel", NULL)
