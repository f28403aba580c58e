"""The geometry of a convolution, as every algorithm gets it from its step.

Images lie channels-last, (images, height, width, channels), and weights as (kernel_height,
kernel_width, channels of a group, filters). Output pixel (i, j) sees the input pixels
(i * stride - pad + r * dilation, j * stride - pad + s * dilation); what lies outside is zero.
"""

from fastnn._core.step cimport Step


cdef struct Convolution:
    Py_ssize_t images
    Py_ssize_t height             # of the input
    Py_ssize_t width
    Py_ssize_t channels
    Py_ssize_t out_height
    Py_ssize_t out_width
    Py_ssize_t filters
    Py_ssize_t kernel_height
    Py_ssize_t kernel_width
    Py_ssize_t stride_height
    Py_ssize_t stride_width
    Py_ssize_t pad_top            # the padding below and to the right follows from the output's size
    Py_ssize_t pad_left
    Py_ssize_t dilation_height
    Py_ssize_t dilation_width
    Py_ssize_t groups
    int activation                # of the output, or (backward to the input) the one before
    bint for_backward             # of a weight to prepare: for the pass back to the input


cdef inline Py_ssize_t ceiling(const Py_ssize_t a, const Py_ssize_t b) noexcept nogil:
    """a / b, rounded up"""
    return (a + b - 1) // b


cdef inline Convolution convolution_of(const Step* s) noexcept nogil:
    """The order of fastnn/_compiler/convolution/geometry.py."""
    return Convolution(s.size[0], s.size[1], s.size[2], s.size[3], s.size[4], s.size[5], s.size[6],
                       s.size[7], s.size[8], s.size[9], s.size[10], s.size[11], s.size[12],
                       s.size[13], s.size[14], s.size[15], <int>s.size[16], s.size[17])
