"""Arrays that begin where kernels like it, with room to read beyond their end.

Building a network and compiling it asks for dozens of them, and for the addresses of as many.
"""

import numpy as np

cimport numpy as cnp
from libc.string cimport memset

cnp.import_array()

cpdef enum:
    CACHE_LINE = 64
    # A load that follows a store waits for it if the lower twelve bits of their addresses agree. Two
    # large arrays a few bytes off a multiple of 4,096 would meet so at every vector; from the same
    # place within a page, a store only meets loads that came before it.
    PAGE_BYTES = 4096
    LARGE_BYTES = 32768
    HUGE_PAGE_BYTES = 2097152
    # What a kernel may read (and never use) beyond the last element of a buffer.
    SLACK_BYTES = 64


def aligned_empty(Py_ssize_t count, dtype):
    """An uninitialized array at the start of a cache line, with slack to read beyond its end.

    A large one starts on a page.
    """
    cdef cnp.dtype kind = np.dtype(dtype)
    cdef Py_ssize_t size = count * kind.itemsize
    cdef Py_ssize_t alignment = CACHE_LINE if size < LARGE_BYTES else PAGE_BYTES
    cdef cnp.npy_intp whole = size + alignment + SLACK_BYTES
    cdef cnp.ndarray raw = cnp.PyArray_EMPTY(1, &whole, cnp.NPY_UINT8, False)
    cdef Py_ssize_t start = -address_of(raw) & (alignment - 1)
    return raw[start:start + size].view(kind)


def aligned_zeros(Py_ssize_t count, dtype):
    """As `aligned_empty`, all zero."""
    cdef cnp.ndarray array = aligned_empty(count, dtype)
    memset(cnp.PyArray_DATA(array), 0, cnp.PyArray_NBYTES(array))
    return array


cpdef size_t address_of(cnp.ndarray array):
    """Where an array lies; `array.ctypes.data` makes two objects to tell it."""
    return <size_t>cnp.PyArray_DATA(array)
