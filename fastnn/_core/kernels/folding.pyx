"""Layers folded into the weights of the layer before them, once, for inference."""

from fastnn._core.simd cimport real
from fastnn._core.step cimport Step, publish
from libc.math cimport sqrt


cdef void fold_batchnorm(
    real* folded_weight,         # (rows, channels)
    real* folded_bias,           # (channels,)
    const real* weight,          # (rows, channels)
    const real* bias,            # (channels,) or NULL
    const real* scale,           # (channels,) or NULL
    const real* shift,           # (channels,) or NULL
    const real* mean,            # (channels,)
    const real* variance,        # (channels,)
    Py_ssize_t rows, Py_ssize_t channels, double eps,
) noexcept nogil:
    """What a layer and the normalization of its output do, done by the layer"""
    cdef Py_ssize_t row, channel
    cdef double factor, constant
    for channel in range(channels):
        factor = 1 / sqrt(variance[channel] + eps)
        if scale != NULL:
            factor *= scale[channel]
        constant = (0 if bias == NULL else bias[channel]) - <double>mean[channel]
        folded_bias[channel] = <real>(constant * factor + (0 if shift == NULL else shift[channel]))
        # Where a row is multiplied by its channel's factor, as soon as all of them are there.
        folded_weight[channel] = <real>factor
    for row in range(rows - 1, -1, -1):
        for channel in range(channels):
            folded_weight[row * channels + channel] = (
                weight[row * channels + channel] * folded_weight[channel])


cdef void run_fold_batchnorm(const Step* s) noexcept nogil:
    fold_batchnorm(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                   <real*>s.data[4], <real*>s.data[5], <real*>s.data[6], <real*>s.data[7],
                   s.size[0], s.size[1], s.scalar[0])


KERNELS = {"fold_batchnorm": publish(run_fold_batchnorm)}
