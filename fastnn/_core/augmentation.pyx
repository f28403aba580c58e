"""Augmentation: fills batches with images of bytes, cropped, flipped and normalized by a kernel.

A `Feed` calls `fill` without the interpreter, `fastnn.datasets` the method `batch`.
"""

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t

from fastnn._core.step cimport Kernel, Step
from fastnn._core.threads cimport team_size

cnp.import_array()

cdef enum:
    # Fewer elements are not worth waking a team.
    PARALLEL_WORTH_ELEMENTS = 16384


cdef class Augmentation:
    """What is done to the images of an epoch.

    Parameters
    ----------
    kernel : capsule of "augment_images_forward" in the precision `dtype`
    dtype : of the batches
    shape : (channels, height, width) of an image
    scale, shift : numbers by channel: y = x scale + shift
    padding : pixels of zeros around an image before it is cropped to its size again
    flip : whether half of the images are mirrored
    key : of all that is random

    Attributes
    ----------
    place : int
        In the epoch, of the first image of the next `run_epoch`; what is random depends on the place.
    """

    def __init__(self, kernel, dtype, shape, scale, shift, Py_ssize_t padding, bint flip,
                 uint64_t key):
        self.dtype = np.dtype(dtype)
        self.shape = tuple(shape)
        self.scale = np.array(scale, self.dtype)
        self.shift = np.array(shift, self.dtype)
        if len(self.shape) != 3 or not len(self.scale) == len(self.shift) == self.shape[0]:
            raise ValueError(f"got images of shape {self.shape} and {len(self.scale)} channels")
        self.key = key
        self.step.run = <Kernel>PyCapsule_GetPointer(kernel, b"fastnn.kernel")
        self.step.data[3] = cnp.PyArray_DATA(self.scale)
        self.step.data[4] = cnp.PyArray_DATA(self.shift)
        for i, size in enumerate(self.shape):
            self.step.size[1 + i] = size
        self.step.size[4] = padding
        self.step.size[5] = flip
        self.step.random_key = &self.key

    cdef void fill(self, void* batch, void* images, const int64_t* indices, Py_ssize_t first,
                   Py_ssize_t count, int threads) noexcept nogil:
        """Images `first` to `first + count` of the order of `indices` (or as they come)."""
        cdef Step step = self.step
        cdef Py_ssize_t elements = step.size[1] * step.size[2] * step.size[3]
        step.data[0] = batch
        step.data[1] = images
        step.data[2] = NULL
        if indices == NULL:
            step.data[1] = <char*>images + first * elements
        else:
            step.data[2] = <void*>(indices + first)
        step.size[0] = count
        step.size[6] = self.place + first
        step.threads = threads if count * elements >= PARALLEL_WORTH_ELEMENTS else 1
        step.run(&step)

    def accept(self, images):
        """The images, if they are what the kernel reads.

        Raises
        ------
        TypeError, ValueError
        """
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            got = getattr(images, "dtype", type(images).__name__)
            raise TypeError(f"augment: got images of {got}, expected an array of uint8")
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise ValueError(f"augment: got images of shape {images.shape}, expected (images, "
                             f"{', '.join(map(str, self.shape))})")
        return np.ascontiguousarray(images)

    def batch(self, images, indices, Py_ssize_t place=0):
        """A new array of the images that `indices` names, the first at `place` in the epoch."""
        cdef cnp.ndarray source = self.accept(images)
        cdef cnp.ndarray order = np.ascontiguousarray(indices, np.int64)
        cdef cnp.ndarray result = np.empty((len(order), *self.shape), self.dtype)
        cdef Py_ssize_t count = len(order)
        cdef int threads = team_size()
        if count and not (0 <= order.min() and order.max() < len(source)):
            raise ValueError(f"augment: got indices from {order.min()} to {order.max()}, expected "
                             f"0 <= index < {len(source)}")
        self.place = place
        with nogil:
            self.fill(cnp.PyArray_DATA(result), cnp.PyArray_DATA(source),
                      <const int64_t*>cnp.PyArray_DATA(order), 0, count, threads)
        return result
