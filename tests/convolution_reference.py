"""Convolution by its definition, tap by tap in float64: what every algorithm is compared with.

Each function returns the result and, as a measure of how exact it can be, the same sum over
absolute values. Arrays lie as inside a program: images channels-last, weights as
(kernel_height, kernel_width, channels of a group, filters).
"""

from __future__ import annotations

import numpy as np


def padded_size(geometry):
    """Of the part of the padded input that the kernel sees, at least the input itself."""
    return [
        max((out - 1) * stride + (kernel - 1) * dilation + 1, before + length)
        for out, stride, kernel, dilation, before, length in zip(
            geometry.out_image,
            geometry.stride,
            geometry.kernel,
            geometry.dilation,
            geometry.padding,
            geometry.image,
            strict=True,
        )
    ]


def pad(x, geometry):
    """x (n, h, w, c) in float64 with the zeros around it."""
    top, left = geometry.padding
    height, width = geometry.image
    padded = np.zeros((len(x), *padded_size(geometry), x.shape[3]))
    padded[:, top : top + height, left : left + width] = x
    return padded


def taps(padded, geometry):
    """For each tap (r, s): the view of the padded input that the output pixels see through it."""
    for r in range(geometry.kernel[0]):
        for s in range(geometry.kernel[1]):
            row, column = r * geometry.dilation[0], s * geometry.dilation[1]
            rows = slice(row, row + (geometry.out_image[0] - 1) * geometry.stride[0] + 1)
            columns = slice(column, column + (geometry.out_image[1] - 1) * geometry.stride[1] + 1)
            view = padded[:, rows, columns]
            yield r, s, view[:, :: geometry.stride[0], :: geometry.stride[1]]


def grouped(array, geometry):
    """The last axis as (groups, of a group)."""
    return array.reshape(*array.shape[:-1], geometry.groups, -1)


def with_bound(function):
    """Computes the function on absolute values too."""

    def both(a, b, geometry):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return function(a, b, geometry), function(np.abs(a), np.abs(b), geometry)

    return both


@with_bound
def forward(x, weight, geometry):
    """y (n, out_height, out_width, filters), without a bias."""
    y = np.zeros((len(x), *geometry.out_image, geometry.filters))
    weight = grouped(weight, geometry)
    for r, s, view in taps(pad(x, geometry), geometry):
        product = np.einsum("nijgc,cgk->nijgk", grouped(view, geometry), weight[r, s])
        y += product.reshape(y.shape)
    return y


@with_bound
def backward_input(dy, weight, geometry):
    """dx (n, height, width, channels)."""
    top, left = geometry.padding
    height, width = geometry.image
    dpadded = np.zeros((len(dy), *padded_size(geometry), geometry.channels))
    weight = grouped(weight, geometry)
    for r, s, view in taps(dpadded, geometry):
        product = np.einsum("nijgk,cgk->nijgc", grouped(dy, geometry), weight[r, s])
        view += product.reshape(view.shape)
    return dpadded[:, top : top + height, left : left + width]


@with_bound
def backward_weight(x, dy, geometry):
    """dweight (kernel_height, kernel_width, channels of a group, filters)."""
    channels = geometry.channels // geometry.groups
    dweight = np.zeros((*geometry.kernel, channels, geometry.filters))
    for r, s, view in taps(pad(x, geometry), geometry):
        product = np.einsum("nijgc,nijgk->cgk", grouped(view, geometry), grouped(dy, geometry))
        dweight[r, s] = product.reshape(channels, geometry.filters)
    return dweight
