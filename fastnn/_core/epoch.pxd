"""What runs one batch of a data set, for the loops over batches (epoch.pyx, rounds.pyx)."""

from libc.stdint cimport int64_t

from fastnn._core.feed cimport Feed
from fastnn._core.program cimport Program

cdef enum:
    # How long batches are computed before somebody looks at signals and progress.
    ATTENTION_NANOSECONDS = 30_000_000

cdef struct Sums:
    # Over batches: how many, their examples, sum of loss * examples, correct rows, rows that count.
    Py_ssize_t batches
    Py_ssize_t examples
    double loss
    double correct
    double counted

cdef int check_batches(Program program, Py_ssize_t examples, Py_ssize_t batch_size) except -1
cdef double forward_batch(Feed feed, const int64_t* order, Py_ssize_t first,
                          Py_ssize_t count) noexcept nogil
cdef void finish_batch(Program program, Sums* sums, double loss, bint train) noexcept nogil
