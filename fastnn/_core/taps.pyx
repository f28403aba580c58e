"""Taps: copies of values as soon as a step has computed them, before their memory is used again."""

import itertools
from operator import itemgetter

import numpy as np

from fastnn._core.aligned import address_of, aligned_zeros

cimport numpy as cnp
from libc.string cimport memcpy

cnp.import_array()


cdef class Taps:
    """Not to be changed: a program that is tapped anew gets others.

    Parameters
    ----------
    lists : lists of (forward step, offset of a batched value in the arena, array)
        The array has room for some examples; those behind stay uncopied.
    arena : array
    """

    def __init__(self, list lists, arena):
        cdef Py_ssize_t i
        cdef list taps = sorted(itertools.chain(*lists), key=itemgetter(0))
        cdef size_t start = address_of(arena)
        self.memory = aligned_zeros(len(taps) * sizeof(Tap), np.uint8)
        self.table = <Tap*>cnp.PyArray_DATA(<cnp.ndarray>self.memory)
        self.lists, self.count = lists, len(taps)
        for i, (step, offset, copy) in enumerate(taps):
            self.table[i] = Tap(step, <const char*>(start + <size_t>offset),
                                <char*><size_t>address_of(copy), copy.nbytes // len(copy), len(copy))

    cdef void take(self, Py_ssize_t index, Py_ssize_t batch) noexcept nogil:
        """Copies a value, which has just been computed for a batch."""
        cdef Tap* tap = &self.table[index]
        memcpy(tap.copy, tap.value, min(batch, tap.examples) * tap.bytes_per_example)
