"""The kernels of depthwise convolution, against loops over taps in float64."""

import itertools

import numpy as np
import pytest
from kernel_runner import aligned, kernel_program

from fastnn._compiler.activations import KINDS
from fastnn._compiler.convolution.algorithm import (
    BACKWARD_INPUT,
    BACKWARD_PARAMETERS,
    FORWARD,
)
from fastnn._compiler.convolution.depthwise import Depthwise
from fastnn._compiler.convolution.geometry import Geometry, output_length

GEOMETRIES = [  # kernel, stride, padding, dilation
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((5, 5), (1, 1), (2, 2), (1, 1)),
    ((5, 5), (1, 1), (0, 0), (1, 1)),
    ((7, 7), (1, 1), (3, 3), (1, 1)),
    ((5, 7), (2, 1), (3, 8), (2, 1)),
    ((2, 3), (3, 1), (4, 7), (3, 1)),
    ((7, 2), (3, 1), (3, 0), (1, 3)),
    ((3, 3), (2, 3), (4, 2), (3, 2)),
    ((2, 3), (4, 5), (0, 1), (1, 1)),
    ((4, 9), (1, 2), (2, 6), (1, 1)),
]
CHANNELS = (1, 3, 16, 17, 48)


def geometry_of(image, channels, kernel, stride, padding, dilation):
    out = tuple(
        output_length(n, k, s, p, p, d)
        for n, k, s, p, d in zip(image, kernel, stride, padding, dilation, strict=True)
    )
    return Geometry(
        image, channels, out, channels, kernel, stride, padding, dilation, groups=channels
    )


def patches(x, g):
    """For each tap: (r, s), and the input that each output pixel sees by it; zero outside."""
    (rows, columns), (down, across) = g.out_image, g.stride
    margin = [
        (0, 0),
        *(
            (p, s * n + k * d)
            for p, s, n, k, d in zip(
                g.padding, g.stride, g.out_image, g.kernel, g.dilation, strict=True
            )
        ),
        (0, 0),
    ]
    padded = np.pad(x, margin)
    for r, s in itertools.product(range(g.kernel[0]), range(g.kernel[1])):
        top, left = r * g.dilation[0], s * g.dilation[1]
        yield (
            (r, s),
            padded[:, top : top + down * rows : down, left : left + across * columns : across],
        )


def run(name, direction, g, dtype, outputs, inputs, threads, activation="identity", slope=0.1):
    workspace = Depthwise().workspace(g, direction, np.dtype(dtype).itemsize)
    data = [None if a is None else aligned(a, dtype) for a in (*outputs, *inputs)]
    program = kernel_program(
        f"conv2d_depthwise_{name}",
        dtype,
        data,
        g.sizes(KINDS[activation]),
        [slope],
        workspace.per_thread,
        workspace.shared,
        threads,
        batch=len(inputs[0]),
    )
    program.forward()
    return data[: len(outputs)]


def assert_close(got, wanted, dtype, count):
    """A sum of `count` products of numbers near one."""
    allowed = 4 * np.finfo(dtype).eps * np.sqrt(count) * max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=allowed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_depthwise(geometry, dtype):
    rng = np.random.default_rng(0)
    for channels, image, images in itertools.product(CHANNELS, ((8, 13), (9, 7), (19, 20)), (1, 3)):
        g = geometry_of(image, channels, *geometry)
        assert Depthwise().fits(g, FORWARD)
        x = rng.normal(size=(images, *image, channels)).astype(dtype)
        dy = rng.normal(size=(images, *g.out_image, channels)).astype(dtype)
        weight = rng.normal(size=(*g.kernel, channels)).astype(dtype)
        bias = rng.normal(size=channels).astype(dtype)
        seen = dict(patches(x.astype(np.float64), g))
        y = sum(weight[tap].astype(np.float64) * seen[tap] for tap in seen) + bias
        dweight = np.array([np.einsum("nhwc,nhwc->c", seen[tap], dy) for tap in seen])
        # The gradient is the adjoint of the patches: where each element of x went.
        places = np.arange(1, x.size + 1, dtype=np.float64).reshape(x.shape)
        dx = np.zeros(x.size + 1)
        for tap, at in patches(places, g):
            np.add.at(dx, at.astype(np.int64), weight[tap].astype(np.float64) * dy)
        dx = dx[1:].reshape(x.shape)
        derivative = np.where(x > 0, 1, 0.1)
        found = []
        for threads in (1, 2, 3):
            (out,) = run(
                "forward", FORWARD, g, dtype, [np.full(y.shape, np.nan)], [x, weight, bias], threads
            )
            (activated,) = run(
                "forward",
                FORWARD,
                g,
                dtype,
                [np.full(y.shape, np.nan)],
                [x, weight, None],
                threads,
                "leaky_relu",
            )
            (back,) = run(
                "backward_input",
                BACKWARD_INPUT,
                g,
                dtype,
                [np.full(x.shape, np.nan)],
                [dy, weight, None],
                threads,
            )
            (through,) = run(
                "backward_input",
                BACKWARD_INPUT,
                g,
                dtype,
                [np.full(x.shape, np.nan)],
                [dy, weight, x],
                threads,
                "leaky_relu",
            )
            sums = run(
                "backward_parameters",
                BACKWARD_PARAMETERS,
                g,
                dtype,
                [np.full(weight.shape, np.nan), np.full(channels, np.nan)],
                [x, dy],
                threads,
            )
            (alone, _) = run(
                "backward_parameters",
                BACKWARD_PARAMETERS,
                g,
                dtype,
                [np.full(weight.shape, np.nan), None],
                [x, dy],
                threads,
            )
            found.append([out, activated, back, through, *sums, alone])
        for others in found[1:]:
            for one, other in zip(found[0], others, strict=True):
                np.testing.assert_array_equal(one, other)
        out, activated, back, through, got_dweight, dbias, alone = found[0]
        assert_close(out, y, dtype, g.taps)
        plain = y - bias
        assert_close(activated, np.where(plain > 0, plain, 0.1 * plain), dtype, g.taps)
        assert_close(back, dx, dtype, g.taps)
        assert_close(through, dx * derivative, dtype, g.taps)
        pixels = images * g.pixels
        assert_close(got_dweight.reshape(-1, channels), dweight, dtype, pixels)
        assert_close(dbias, dy.sum((0, 1, 2), dtype=np.float64), dtype, pixels)
        np.testing.assert_array_equal(alone, got_dweight)
