"""Rounds of a training: an epoch and a measurement of other rows, one after the other.

    shuffle ──▶ stretch of batches ──▶ stretch ──▶ ... ──▶ measurement ──▶ next round
                      └── ends a training whose loss is not finite, or too large

Trainings that run side by side in threads of one process meet in the interpreter alone. An epoch of
a short one takes 0.1 ms, and to come back after each is to wait each time for whoever builds and
compiles a network there. So the interpreter is not needed between rounds.
"""

import numpy as np

from fastnn._core.aligned import aligned_empty

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t

from fastnn._core.clock cimport nanoseconds
from fastnn._core.constants cimport begin_updates, end_updates
from fastnn._core.epoch cimport (
    ATTENTION_NANOSECONDS,
    Sums,
    check_batches,
    finish_batch,
    forward_batch,
)
from fastnn._core.feed cimport Feed
from fastnn._core.shuffle cimport shuffle

cnp.import_array()

cdef enum:
    RESULTS = 6                # of a round


cdef bint run_rows(Feed feed, const int64_t* order, Py_ssize_t first, Py_ssize_t stop, bint train,
                   Sums* sums, double* deadline, object attend) except -1 nogil:
    """Batches of the rows from `first` to `stop`; False, before the update, if a loss is not finite.
    """
    cdef Py_ssize_t count
    cdef double loss
    while first < stop:
        count = min(feed.batch_size, stop - first)
        if count != feed.program.batch:
            feed.program.set_sizes(count, feed.program.threads)
        loss = forward_batch(feed, order, first, count)
        if not isfinite(loss):
            return False
        finish_batch(feed.program, sums, loss, train)
        first += count
        if nanoseconds() > deadline[0]:
            with gil:
                PyErr_CheckSignals()
                attend()
            deadline[0] = nanoseconds() + ATTENTION_NANOSECONDS
    return True


cdef tuple rounds_of(Feed training, Feed measuring, uint64_t seed, Py_ssize_t first_epoch,
                     Py_ssize_t examples, const int64_t* stretches, Py_ssize_t rounds,
                     double limit, object attend):
    cdef Py_ssize_t first = 0, stop, done = 0
    cdef Sums sums, held
    cdef double loss = 0, deadline = nanoseconds() + ATTENTION_NANOSECONDS
    cdef bint finite = True
    cdef cnp.ndarray results = np.empty((rounds, RESULTS))
    cdef cnp.ndarray order_array = aligned_empty(training.examples, np.int64)
    cdef double* result = <double*>cnp.PyArray_DATA(results)
    cdef int64_t* order = <int64_t*>cnp.PyArray_DATA(order_array)
    training.program.configure(min(training.batch_size, examples))
    measuring.program.configure(min(measuring.batch_size, measuring.examples))
    with nogil:
        while done < rounds and finite:
            shuffle(order, training.examples, seed, first_epoch + done)
            loss, first = 0, 0
            while first < examples:
                sums = Sums(0, 0, 0, 0, 0)
                stop = min(first + stretches[done], examples)
                finite = run_rows(training, order, first, stop, True, &sums, &deadline, attend)
                if not finite or sums.loss / sums.examples > limit:
                    break
                loss += sums.loss
                first = stop
            if first < examples:
                break
            held = Sums(0, 0, 0, 0, 0)
            finite = run_rows(measuring, NULL, 0, measuring.examples, False, &held, &deadline, attend)
            result[0] = loss / examples
            result[1] = held.examples
            result[2] = held.loss
            result[3] = held.correct
            result[4] = held.counted
            result[5] = finite
            result += RESULTS
            done += 1
    if first == examples:
        return results[:done], None, None
    if not finite:
        return results[:done], first + sums.examples, None
    return results[:done], None, sums.loss / sums.examples


def run_rounds(Feed training, Feed measuring, uint64_t seed, Py_ssize_t first_epoch,
               Py_ssize_t examples, stretches, double limit, attend):
    """Trains and measures by turns, for as many epochs as there are stretches or until it is over.

    Parameters
    ----------
    training : Feed of a program with an update
    measuring : Feed of a program that measures; all its rows are
    seed, first_epoch : int
        Each epoch has the order ``shuffled(training.examples, seed, epoch)``.
    examples : int
        How many of it an epoch goes through.
    stretches : (rounds,)
        After how many examples the mean loss is looked at.
    limit : float
        The largest mean loss of a stretch.
    attend : callable
        Called some 30 times a second; its errors end the training.

    Returns
    -------
    results : (finished rounds, 6)
        The training's mean loss; then, of the measurement, examples, sum of loss * examples, correct
        rows, rows that count, and whether it is finite: if not, no round comes after.
    bad_row : int or None
        Where, in the order of the unfinished round, the batch begins whose loss is not finite.
    exploded : float or None
        The loss beyond the limit that ended the unfinished round.
    """
    cdef cnp.ndarray lengths = np.ascontiguousarray(stretches, np.int64)
    if lengths.ndim != 1 or lengths.size == 0 or np.min(lengths) < 1:
        raise ValueError("expected a stretch of 1 or more for each of some epochs")
    if not 0 < examples <= training.examples:
        raise ValueError(f"got {examples} examples, expected 1 to {training.examples}")
    check_batches(training.program, examples, training.batch_size)
    training.program.lock.acquire()
    try:
        measuring.program.lock.acquire()
        begin_updates()
        try:
            return rounds_of(training, measuring, seed, first_epoch, examples,
                             <const int64_t*>cnp.PyArray_DATA(lengths), lengths.size, limit,
                             attend)
        finally:
            end_updates()
            measuring.program.lock.release()
    finally:
        training.program.lock.release()
