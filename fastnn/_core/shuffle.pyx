"""The order of an epoch's examples, drawn without the interpreter.

NumPy's `permutation` keeps the interpreter while it draws, so that trainings side by side would wait
for each other once an epoch.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t

from fastnn._core.splitmix cimport random_bits

cnp.import_array()


cdef void shuffle(int64_t* order, Py_ssize_t count, uint64_t seed, uint64_t epoch) noexcept nogil:
    """order = the numbers below `count` in the order of an epoch, by Fisher and Yates."""
    cdef uint64_t stream = random_bits(seed, epoch)
    cdef Py_ssize_t i, j
    # A number below i + 1 is a fraction of 53 bits times i + 1, which never rounds up to i + 1.
    for i in range(count):
        j = <Py_ssize_t>(<double>(random_bits(stream, i) >> 11) * 2.0**-53 * <double>(i + 1))
        order[i] = order[j]
        order[j] = i


def shuffled(Py_ssize_t count, uint64_t seed, uint64_t epoch):
    """The order of an epoch as an array: it depends on these numbers alone."""
    cdef cnp.ndarray order = np.empty(count, np.int64)
    shuffle(<int64_t*>cnp.PyArray_DATA(order), count, seed, epoch)
    return order
