"""An epoch: a program run over the examples of a feed, batch by batch, without the interpreter."""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport int64_t

from fastnn._core.clock cimport nanoseconds
from fastnn._core.constants cimport begin_updates, end_updates
from fastnn._core.feed cimport Feed
from fastnn._core.program cimport Program

cnp.import_array()


def run_epoch(Feed feed, indices, bint train, callback=None, snapshot=None):
    """Runs over all examples (those that `indices` names, in its order) by batches.

    The interpreter is free meanwhile; some 30 times a second signals are checked and
    `callback(batches, examples, loss_sum, correct, counted)` is called.

    Parameters
    ----------
    feed : Feed
    indices : int64 array or None
    train : whether backward and update steps run too
    snapshot : None, or a pair of lists of uint8 arrays: the first are copied to the second
        while the loss is finite, from time to time

    Returns
    -------
    (batches, examples, sum of loss * examples, correct rows, rows that count, finite):
    not `finite` if a loss was not a finite number. A training ends there: it is the loss of the batch
    after those, and nothing was updated with it.
    """
    feed.program.lock.acquire()
    if train:
        begin_updates()
    try:
        return run_batches(feed, indices, train, callback, snapshot)
    finally:
        if train:
            end_updates()
        feed.program.lock.release()


cdef cnp.ndarray accept_indices(object indices, Py_ssize_t rows):
    """The order of the rows as a new int64 array, every one of which exists."""
    given = np.asarray(indices)
    if given.dtype.kind not in "iu":
        raise TypeError(f"indices: got dtype {given.dtype}, expected integers")
    if given.ndim != 1:
        raise ValueError(f"indices: got shape {given.shape}, expected (examples,)")
    order = np.array(given, np.int64, order="C")
    if len(order) and not (0 <= order.min() and order.max() < rows):
        raise ValueError(f"indices: got values from {order.min()} to {order.max()}, expected "
                         f"0 <= index < {rows}")
    return order


def take_snapshot(arrays):
    """Copies each array of the first list to its partner in the second."""
    for source, copy in zip(*arrays):
        copy[...] = source


cdef int check_batches(Program program, Py_ssize_t examples, Py_ssize_t batch_size) except -1:
    """ValueError where a training's last batch would be too small."""
    if 0 < examples % batch_size < program.least_batch:
        raise ValueError(f"{program.least_batch_reason}: with {examples} examples in batches of "
                         f"{batch_size} the last batch would have {examples % batch_size}, "
                         f"expected {program.least_batch} or more: take another batch size")
    return 0


cdef double forward_batch(Feed feed, const int64_t* order, Py_ssize_t first,
                          Py_ssize_t count) noexcept nogil:
    """The loss of the examples from `first`; the program is configured for their count."""
    feed.point(order, first, count)
    feed.program.advance_random_key()
    feed.program.run_forward()
    return feed.program.read(feed.program.loss, 0)


cdef void finish_batch(Program program, Sums* sums, double loss, bint train) noexcept nogil:
    """Backward and update, where it is to train, and the batch's part of the sums."""
    if train:
        program.run(program.backward_start, program.step_count)
    sums.loss += loss * program.batch
    if program.statistics != NULL:
        sums.correct += program.read(program.statistics, 2)
        sums.counted += program.read(program.statistics, 3)
    sums.examples += program.batch
    sums.batches += 1


cdef tuple run_batches(Feed feed, indices, bint train, callback, snapshot):
    cdef Py_ssize_t count, total = feed.examples
    cdef Program program = feed.program
    cdef const int64_t* order = NULL
    cdef cnp.ndarray index_array
    cdef Sums sums = Sums(0, 0, 0, 0, 0)
    cdef double loss, last_look
    cdef bint finite = True, attend, save
    if indices is not None:
        index_array = accept_indices(indices, total)
        order = <const int64_t*>cnp.PyArray_DATA(index_array)
        total = len(index_array)
    if total == 0:
        raise ValueError("got an empty data set, expected one example or more")
    if train:
        check_batches(program, total, feed.batch_size)
    last_look = nanoseconds()
    while sums.examples < total and finite:
        program.configure(min(feed.batch_size, total - sums.examples))
        save = snapshot is not None
        with nogil:
            attend = False
            # As long as nobody waits and the batches are whole, the interpreter is left alone.
            while sums.examples < total and not attend:
                count = min(feed.batch_size, total - sums.examples)
                if count != program.batch:
                    break
                loss = forward_batch(feed, order, sums.examples, count)
                # A training ends before the update; a measurement goes on, to count all rows.
                finite = isfinite(loss) or not train
                if not finite:
                    break
                if save:
                    # These parameters gave a finite loss: the best time to keep them.
                    with gil:
                        take_snapshot(snapshot)
                    save = False
                finish_batch(program, &sums, loss, train)
                attend = nanoseconds() - last_look > ATTENTION_NANOSECONDS
        last_look = nanoseconds()
        PyErr_CheckSignals()
        if callback is not None:
            callback(sums.batches, sums.examples, sums.loss, sums.correct, sums.counted)
    return (sums.batches, sums.examples, sums.loss, sums.correct, sums.counted,
            finite if train else isfinite(sums.loss))
