"""Winograd's convolution and its gradients against sums over the taps in float64."""

import numpy as np
import pytest
from kernel_runner import aligned, kernel_program

from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT, BACKWARD_PARAMETERS, FORWARD
from fastnn._compiler.convolution.geometry import Geometry, output_length
from fastnn._compiler.convolution.space_to_depth import SpaceToDepth
from fastnn._compiler.convolution.winograd import Winograd

# Of the largest value of the reference: the bound of the project, and what float64 leaves.
TOLERANCE = {"float32": 5e-5, "float64": 1e-12}
RELU, ELU = 1, 5


def strided_geometry(height, width, channels, filters, kernel, stride, padding):
    out = tuple(output_length(n, kernel, stride, padding, padding, 1) for n in (height, width))
    return Geometry(
        (height, width),
        channels,
        out,
        filters,
        (kernel, kernel),
        (stride, stride),
        (padding, padding),
    )


def geometry_of(height, width, channels, filters, kernel, padding):
    return strided_geometry(height, width, channels, filters, kernel, 1, padding)


def patches(x, g):
    """(taps, images, out_height, out_width, channels): what each tap sees."""
    (r, s), (h, w), (oh, ow) = g.kernel, g.image, g.out_image
    (sh, sw), (top, left) = g.stride, g.padding
    padded = np.zeros((len(x), (oh - 1) * sh + r + h, (ow - 1) * sw + s + w, x.shape[3]))
    padded[:, top : top + h, left : left + w] = x
    return np.stack(
        [
            padded[:, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw]
            for i in range(r)
            for j in range(s)
        ]
    )


def forward_reference(x, weight, bias, g):
    taps = weight.reshape(-1, *weight.shape[2:])
    return np.einsum("tnijc,tck->nijk", patches(x, g), taps) + bias


def weight_reference(x, dy, g):
    return np.einsum("tnijc,nijk->tck", patches(x, g), dy).reshape(*g.kernel, g.channels, g.filters)


def input_reference(dy, weight, g):
    """Each pixel of dy is spread over the pixels that its taps saw."""
    (r, s), (h, w), (oh, ow) = g.kernel, g.image, g.out_image
    (sh, sw), (top, left) = g.stride, g.padding
    dx = np.zeros((len(dy), (oh - 1) * sh + r + h, (ow - 1) * sw + s + w, g.channels))
    for i in range(r):
        for j in range(s):
            dx[:, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw] += np.einsum(
                "nijk,ck->nijc", dy, weight[i, j]
            )
    return dx[:, top : top + h, left : left + w]


class Case:
    """Random operands of one convolution, and its kernels run on them."""

    def __init__(self, g, images, dtype, algorithm=None, seed=0):
        rng = np.random.default_rng(seed)
        self.g, self.images, self.dtype = g, images, dtype
        self.algorithm = algorithm or Winograd()
        assert self.algorithm.fits(g)
        self.x = rng.standard_normal((images, *g.image, g.channels)).astype(dtype)
        self.dy = rng.standard_normal((images, *g.out_image, g.filters)).astype(dtype)
        self.weight = rng.standard_normal((*g.kernel, g.channels, g.filters)).astype(dtype)
        self.bias = rng.standard_normal(g.filters).astype(dtype)

    def program(self, direction, data, activation=0, slope=0.0, threads=1):
        itemsize = np.dtype(self.dtype).itemsize
        need = self.algorithm.workspace(self.g, direction, itemsize)
        at = [
            int(n.at(self.images)) if hasattr(n, "at") else n
            for n in (need.per_thread, need.shared)
        ]
        return kernel_program(
            f"conv2d_{self.algorithm.name}_{direction}",
            self.dtype,
            data,
            self.g.sizes(activation),
            [slope],
            *at,
            threads=threads,
            batch=self.images,
        )

    def prepared(self, direction, threads=1):
        elements = self.algorithm.prepared_elements(self.g, direction)
        if not elements:
            return aligned(self.weight)
        prepared = aligned(np.full(elements, np.nan, self.dtype))
        kernel_program(
            f"conv2d_{self.algorithm.name}_weight",
            self.dtype,
            [prepared, aligned(self.weight)],
            self.g.sizes(0, direction == BACKWARD_INPUT),
            threads=threads,
            batch=self.images,
        ).forward()
        return prepared

    def forward(self, activation=0, slope=0.0, threads=1, bias=True):
        y = aligned(np.full_like(self.dy, np.nan))
        data = [y, aligned(self.x), self.prepared(FORWARD, threads)]
        data.append(aligned(self.bias) if bias else None)
        self.program(FORWARD, data, activation, slope, threads).forward()
        return y

    def backward_input(self, activation=0, slope=0.0, threads=1, output=None):
        dx = aligned(np.full_like(self.x, np.nan))
        data = [dx, aligned(self.dy), self.prepared(BACKWARD_INPUT, threads), output]
        self.program(BACKWARD_INPUT, data, activation, slope, threads).forward()
        return dx

    def backward_parameters(self, threads=1, bias=True):
        dweight = aligned(np.full_like(self.weight, np.nan))
        dbias = aligned(np.full_like(self.bias, np.nan)) if bias else None
        data = [dweight, dbias, aligned(self.x), aligned(self.dy)]
        self.program(BACKWARD_PARAMETERS, data, threads=threads).forward()
        return dweight, dbias

    def doubles(self):
        return (a.astype(np.float64) for a in (self.x, self.dy, self.weight, self.bias))


def assert_close(got, reference, dtype):
    assert got.shape == reference.shape
    error = np.abs(got - reference).max() / np.abs(reference).max()
    assert error < TOLERANCE[dtype], error


def check_all(case):
    x, dy, weight, bias = case.doubles()
    assert_close(case.forward(), forward_reference(x, weight, bias, case.g), case.dtype)
    assert_close(case.backward_input(), input_reference(dy, weight, case.g), case.dtype)
    dweight, dbias = case.backward_parameters()
    assert_close(dweight, weight_reference(x, dy, case.g), case.dtype)
    assert_close(dbias, dy.sum(axis=(0, 1, 2)), case.dtype)


SHAPES = [
    # height, width, channels, filters, kernel, padding, images
    (5, 5, 1, 1, 3, 0, 1),
    (5, 7, 3, 10, 3, 1, 3),
    (7, 8, 16, 17, 3, 1, 1),
    (8, 13, 17, 16, 3, 2, 3),
    (13, 5, 64, 3, 3, 0, 1),
    (13, 13, 10, 64, 3, 1, 3),
    (3, 3, 64, 17, 3, 2, 1),
    (32, 32, 16, 48, 3, 1, 3),
    (5, 5, 1, 3, 5, 0, 3),
    (5, 7, 3, 1, 5, 2, 1),
    (7, 8, 16, 17, 5, 1, 3),
    (8, 13, 17, 64, 5, 4, 1),
    (13, 8, 10, 16, 5, 2, 3),
    (27, 27, 16, 20, 5, 2, 3),
    (9, 9, 130, 150, 3, 1, 5),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_against_a_sum_over_taps(shape, dtype):
    check_all(Case(geometry_of(*shape[:-1]), shape[-1], dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_of_threads_gives_the_same_bits(shape, dtype):
    case = Case(geometry_of(*shape[:-1]), shape[-1], dtype)
    one = [case.forward(RELU), case.backward_input(), *case.backward_parameters()]
    for threads in (2, 3):
        several = [
            case.forward(RELU, threads=threads),
            case.backward_input(threads=threads),
            *case.backward_parameters(threads),
        ]
        for a, b in zip(one, several, strict=True):
            np.testing.assert_array_equal(a, b)


STRIDED = [
    # height, width, channels, filters, kernel, stride, padding, images
    (31, 35, 3, 16, 11, 4, 2, 2),
    (224, 40, 3, 10, 11, 4, 2, 1),
    (13, 8, 1, 3, 5, 2, 2, 3),
    (9, 14, 17, 20, 6, 2, 0, 1),
    (20, 20, 2, 64, 9, 2, 4, 2),
    (17, 18, 4, 17, 7, 3, 1, 2),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", STRIDED)
def test_strides_by_blocks_of_pixels(shape, dtype):
    *sizes, images = shape
    case = Case(strided_geometry(*sizes), images, dtype, SpaceToDepth())
    check_all(case)
    one = [case.forward(RELU), case.backward_input(), *case.backward_parameters()]
    three = [
        case.forward(RELU, threads=3),
        case.backward_input(threads=3),
        *case.backward_parameters(3),
    ]
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)
