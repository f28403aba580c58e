"""Arrays of the caller's as a Program meets them: checked once, then read or written in place."""

import math

import numpy as np

from fastnn._core.aligned import aligned_empty

cimport numpy as cnp
from libc.stdint cimport int64_t

cnp.import_array()

MOST_INT64 = np.iinfo(np.int64).max


cdef class External:
    """An array of the user's (or a staging copy of it) that steps read or write in place.

    Parameters
    ----------
    name : what to call it in an error ("input", "target").
    shape : shape of one example.
    dtype : what the kernels expect.
    classes : for labels: valid are 0 <= label < classes, and `ignore_index`.
    """

    def __init__(self, name, shape, dtype, batched=True, classes=0, ignore_index=-100):
        self.name = name
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.batched = batched
        self.classes = classes
        self.ignore_index = ignore_index
        self.type_number = self.dtype.num
        self.row_bytes = self.dtype.itemsize * math.prod(self.shape)

    cdef char* staged(self, Py_ssize_t capacity) except NULL:
        """Memory for a batch, made once."""
        if self.staging is None:
            self.staging = aligned_empty(capacity * self.row_bytes + 1, np.uint8)
        return <char*>cnp.PyArray_DATA(self.staging)

    cdef cnp.ndarray accept(self, object value):
        """`value` as a C-contiguous array of the right type and shape, copied only where needed."""
        cdef cnp.ndarray array
        cdef Py_ssize_t i, rank = len(self.shape), offset = 1 if self.batched else 0
        if isinstance(value, np.ndarray):
            array = value
        else:
            array = np.asarray(value)
        if (cnp.PyArray_TYPE(array) != self.type_number or not cnp.PyArray_ISCARRAY_RO(array)):
            array = self.convert(array)
        if cnp.PyArray_NDIM(array) != rank + offset:
            self.refuse_shape(array)
        for i in range(rank):
            if cnp.PyArray_DIM(array, <int>(i + offset)) != <Py_ssize_t>self.shape[i]:
                self.refuse_shape(array)
        return array

    def convert(self, array):
        kind, wanted = array.dtype.kind, self.dtype.kind
        if kind not in ("biu" if wanted == "i" else "biuf"):
            expected = "integers" if wanted == "i" else "real numbers"
            raise TypeError(f"{self.name}: got dtype {array.dtype}, expected {expected}")
        if wanted == "i" and array.dtype == np.uint64 and array.max(initial=0) > MOST_INT64:
            # It would come round to a negative number, which may be the label that is ignored.
            raise ValueError(f"{self.name}: got {array.max()}, expected integers of 64 bits with a sign")
        # Not ascontiguousarray, which leaves elements at addresses that are no multiple of their size.
        return np.require(array, self.dtype, ["C_CONTIGUOUS", "ALIGNED"])

    def refuse_shape(self, array):
        axes = (["batch"] if self.batched else []) + [str(n) for n in self.shape]
        raise ValueError(
            f"{self.name}: got shape {array.shape}, expected ({', '.join(axes)}"
            f"{',' if len(axes) == 1 else ''})"
        )

    cdef int check_labels(self, cnp.ndarray array) except -1:
        """Labels become indices into memory: they are checked here, and used from a copy of ours."""
        cdef const int64_t* labels = <const int64_t*>cnp.PyArray_DATA(array)
        cdef Py_ssize_t i, bad = -1
        for i in range(cnp.PyArray_SIZE(array)):
            if (labels[i] < 0 or labels[i] >= self.classes) and labels[i] != self.ignore_index:
                bad = i
                break
        if bad >= 0:
            raise ValueError(
                f"{self.name}: label {labels[bad]} at index {bad} is out of range, expected "
                f"0 <= label < {self.classes}"
            )
        return 0
