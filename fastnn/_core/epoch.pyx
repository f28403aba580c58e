"""An epoch: a program run over the rows of a data set, batch by batch, without the interpreter.

    arrays ──accept──▶ RowsOfInput ──in place, gathered or augmented──▶ a batch ──▶ Program.run
                                     ▲
    indices ─────────────────────────┘

Nothing is copied that can be read where it is: without indices a batch is a place in the caller's
array.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport prange
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastnn._core.augmentation cimport Augmentation
from fastnn._core.clock cimport nanoseconds
from fastnn._core.external cimport External
from fastnn._core.program cimport Program, begin_updates, end_updates

cnp.import_array()

cdef enum:
    # Rows of a batch are gathered by the team above this size.
    GATHER_WORTH_BYTES = 65536


def run_epoch(Program program, arrays, indices, Py_ssize_t batch_size, bint train, callback=None,
              snapshot=None, Augmentation augmentation=None):
    """Runs over all rows (those that `indices` names, in its order) by batches.

    The interpreter is free meanwhile; some 30 times a second signals are checked and
    `callback(batches, examples, loss_sum, correct, counted)` is called.

    Parameters
    ----------
    arrays : one array for each input
    indices : int64 array or None
    train : whether backward and update steps run too
    snapshot : None, or a pair of lists of uint8 arrays: the first are copied to the second
        while the loss is finite, from time to time
    augmentation : None, or what makes the first input of its array, which holds bytes

    Returns
    -------
    (batches, examples, sum of loss * examples, correct rows, rows that count, finite):
    not `finite` if a loss was not a finite number. A training ends there: it is the loss of the batch
    after those, and nothing was updated with it.
    """
    program.lock.acquire()
    if train:
        begin_updates()
    try:
        return run_batches(program, arrays, indices, batch_size, train, callback, snapshot,
                           augmentation)
    finally:
        if train:
            end_updates()
        program.lock.release()


cdef Py_ssize_t accept_rows(Program program, RowsOfInput* rows, list arrays, Py_ssize_t batch_size,
                            Augmentation augmentation) except -1:
    """Checks the arrays, tells where their rows lie, and how many there are."""
    cdef Py_ssize_t i, count = 0
    cdef External external, first = <External>program.externals[0]
    if not 0 < len(arrays) <= MAX_INPUTS or batch_size < 1:
        raise ValueError(f"got {len(arrays)} arrays and a batch size of {batch_size}, expected 1 to "
                         f"{MAX_INPUTS} arrays and a batch size of 1 or more")
    for i in range(len(arrays)):
        external = <External>program.externals[i]
        if i == 0 and augmentation is not None:
            if augmentation.shape != external.shape or augmentation.dtype != external.dtype:
                raise ValueError(f"{external.name}: augmentation gives {augmentation.shape} of "
                                 f"{augmentation.dtype}, expected {external.shape} of "
                                 f"{external.dtype}")
            external.array = augmentation.accept(arrays[i])
        else:
            external.array = external.accept(arrays[i])
        if external.classes:
            external.check_labels(external.array)
            external.array = external.array.copy()
        rows[i] = RowsOfInput(<char*>cnp.PyArray_DATA(external.array),
                              external.staged(program.capacity), external.row_bytes)
        count = cnp.PyArray_DIM(first.array, 0)
        if cnp.PyArray_DIM(external.array, 0) != count:
            raise ValueError(f"{external.name}: got {len(external.array)} examples, expected "
                             f"{count} as in {first.name}")
    return count


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


cdef void gather_rows(char* rows, const char* source, const int64_t* indices, Py_ssize_t count,
                      Py_ssize_t row_bytes, int threads) noexcept nogil:
    """rows[i] = source[indices[i]]"""
    cdef Py_ssize_t i
    if count * row_bytes < GATHER_WORTH_BYTES or threads == 1:
        for i in range(count):
            memcpy(rows + i * row_bytes, source + indices[i] * row_bytes, row_bytes)
        return
    for i in prange(count, schedule="static", num_threads=threads):
        memcpy(rows + i * row_bytes, source + indices[i] * row_bytes, row_bytes)


cdef void point_to_rows(Program program, const RowsOfInput* rows, Py_ssize_t index,
                        const int64_t* indices, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Points an input to `count` rows of its array: in place, or gathered by indices."""
    if indices == NULL:
        program.point(index, rows.data + first * rows.row_bytes)
    else:
        gather_rows(rows.staged, rows.data, indices + first, count, rows.row_bytes, program.threads)
        program.point(index, rows.staged)


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


cdef double forward_batch(Program program, const RowsOfInput* rows, Py_ssize_t inputs,
                          Augmentation augmentation, const int64_t* order, Py_ssize_t first,
                          Py_ssize_t count) noexcept nogil:
    """The loss of the rows from `first`; the program is configured for their count."""
    cdef Py_ssize_t i
    cdef bint augmented = augmentation is not None
    for i in range(inputs):
        if i == 0 and augmented:
            augmentation.fill(rows[i].staged, rows[i].data, order, first, count, program.threads)
            program.point(i, rows[i].staged)
        else:
            point_to_rows(program, &rows[i], i, order, first, count)
    program.advance_random_key()
    program.run_forward()
    return program.read(program.loss, 0)


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


cdef tuple run_batches(Program program, arrays, indices, Py_ssize_t batch_size, bint train,
                       callback, snapshot, Augmentation augmentation):
    cdef Py_ssize_t count, total, inputs = len(arrays)
    cdef const int64_t* order = NULL
    cdef cnp.ndarray index_array
    cdef Sums sums = Sums(0, 0, 0, 0, 0)
    cdef double loss, last_look
    cdef RowsOfInput rows[MAX_INPUTS]
    cdef bint finite = True, attend, save
    total = accept_rows(program, rows, list(arrays), batch_size, augmentation)
    if indices is not None:
        index_array = accept_indices(indices, total)
        order = <const int64_t*>cnp.PyArray_DATA(index_array)
        total = len(index_array)
    if total == 0:
        raise ValueError("got an empty data set, expected one example or more")
    if train:
        check_batches(program, total, batch_size)
    last_look = nanoseconds()
    while sums.examples < total and finite:
        program.configure(min(batch_size, total - sums.examples))
        save = snapshot is not None
        with nogil:
            attend = False
            # As long as nobody waits and the batches are whole, the interpreter is left alone.
            while sums.examples < total and not attend:
                count = min(batch_size, total - sums.examples)
                if count != program.batch:
                    break
                loss = forward_batch(program, rows, inputs, augmentation, order, sums.examples,
                                     count)
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
