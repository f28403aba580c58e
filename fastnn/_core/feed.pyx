"""A Feed: the examples of a program's inputs, checked once and given to it batch by batch.

    arrays ──accept──▶ RowsOfInput ──in place, gathered or augmented──▶ a batch of the program's
                                     ▲
    order ───────────────────────────┘

Nothing is copied that can be read where it is: without an order a batch is a place in the caller's
array. Labels are, since they become indices.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastnn._core.augmentation cimport Augmentation
from fastnn._core.external cimport External
from fastnn._core.program cimport Program
from fastnn._core.tasks cimport run_tasks

cnp.import_array()

cdef enum:
    # Rows of a batch are gathered by the team above this size.
    GATHER_WORTH_BYTES = 65536
    # Of those that are gathered in one go.
    PIECE_BYTES = 8192

cdef struct Gather:
    char* rows
    const char* source
    const int64_t* indices
    Py_ssize_t count
    Py_ssize_t row_bytes
    Py_ssize_t rows_of_piece


cdef class Feed:
    """All examples that a program is run over, for as many epochs as wanted.

    Parameters
    ----------
    program : Program
    arrays : one array for each input
    batch_size : int
    augmentation : None, or what makes the first input of its array, which holds bytes
    """

    def __init__(self, Program program, arrays, Py_ssize_t batch_size,
                 Augmentation augmentation=None):
        self.program, self.batch_size, self.augmentation = program, batch_size, augmentation
        program.lock.acquire()
        try:
            self.accept(list(arrays))
        finally:
            program.lock.release()
        if self.examples == 0:
            raise ValueError("got an empty data set, expected one example or more")

    cdef int accept(self, list arrays) except -1:
        """Checks the arrays, and tells where their rows lie and how many there are."""
        cdef Py_ssize_t i
        cdef External external
        cdef cnp.ndarray array
        if not 0 < len(arrays) <= MAX_INPUTS or self.batch_size < 1:
            raise ValueError(f"got {len(arrays)} arrays and a batch size of {self.batch_size}, "
                             f"expected 1 to {MAX_INPUTS} arrays and a batch size of 1 or more")
        self.inputs, self.arrays = len(arrays), []
        for i in range(self.inputs):
            external = <External>self.program.externals[i]
            if i == 0 and self.augmentation is not None:
                array = self.augmented(external, arrays[i])
            else:
                array = external.accept(arrays[i])
            if external.classes:
                external.check_labels(array)
                array = array.copy()
            external.array = array
            self.arrays.append(array)
            self.rows[i] = RowsOfInput(<char*>cnp.PyArray_DATA(array),
                                       external.staged(self.program.capacity), external.row_bytes)
            if i == 0:
                self.examples = cnp.PyArray_DIM(array, 0)
            elif cnp.PyArray_DIM(array, 0) != self.examples:
                raise ValueError(f"{external.name}: got {len(array)} examples, expected "
                                 f"{self.examples} as in {self.program.externals[0].name}")
        return 0

    def augmented(self, external, images):
        """The bytes that batches of an input are made of; ValueError if those would not fit."""
        augmentation = self.augmentation
        if augmentation.shape != external.shape or augmentation.dtype != external.dtype:
            raise ValueError(f"{external.name}: augmentation gives {augmentation.shape} of "
                             f"{augmentation.dtype}, expected {external.shape} of {external.dtype}")
        return augmentation.accept(images)

    cdef void point(self, const int64_t* order, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
        """Points the program to `count` examples from `first`, in an order if there is one."""
        cdef Py_ssize_t i
        cdef int threads = self.program.threads
        cdef const RowsOfInput* rows
        for i in range(self.inputs):
            rows = &self.rows[i]
            if i == 0 and self.augmentation is not None:
                self.augmentation.fill(rows.staged, rows.data, order, first, count, threads)
                self.program.point(i, rows.staged)
            elif order == NULL:
                self.program.point(i, rows.data + first * rows.row_bytes)
            else:
                gather_rows(rows.staged, rows.data, order + first, count, rows.row_bytes, threads)
                self.program.point(i, rows.staged)


cdef void gather_rows(char* rows, const char* source, const int64_t* indices, Py_ssize_t count,
                      Py_ssize_t row_bytes, int threads) noexcept nogil:
    """rows[i] = source[indices[i]]"""
    cdef Gather g = Gather(rows, source, indices, count, row_bytes, 1)
    if row_bytes:
        g.rows_of_piece = max(PIECE_BYTES // row_bytes, <Py_ssize_t>1)
    if count * row_bytes < GATHER_WORTH_BYTES:
        threads = 1
    run_tasks(gather_piece, &g, (count + g.rows_of_piece - 1) // g.rows_of_piece, NULL, 0, threads)


cdef void gather_piece(const void* context, Py_ssize_t piece, char* workspace) noexcept nogil:
    cdef const Gather* g = <const Gather*>context
    cdef Py_ssize_t i, first = piece * g.rows_of_piece
    for i in range(first, min(first + g.rows_of_piece, g.count)):
        memcpy(g.rows + i * g.row_bytes, g.source + g.indices[i] * g.row_bytes, g.row_bytes)
