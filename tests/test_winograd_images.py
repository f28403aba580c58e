"""Winograd's convolution with images in the lanes, and its gradient, against sums in float64."""

from __future__ import annotations

import convolution_runner
import numpy as np
import pytest
from convolution_reference import backward_input, forward
from test_convolution_kernels import DEFINITIONS, geometry_of

from fastnn._compiler.activations import KINDS
from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT, BACKWARD_PARAMETERS, FORWARD
from fastnn._compiler.convolution.choice import choose
from fastnn._compiler.convolution.winograd_images import WinogradImages

# name: (images, geometry); 16 images of float32 are the widest vector
CASES = {
    "second layer of LeNet": (33, geometry_of((12, 12), 20, 50, 5)),
    "one image": (1, geometry_of((12, 12), 20, 50, 5)),
    "one channel": (3, geometry_of((9, 9), 1, 7, 5)),
    "one filter": (16, geometry_of((6, 5), 10, 1, 3, padding=1)),
    "one output pixel": (17, geometry_of((5, 5), 6, 9, 5)),
    "image smaller than a tile": (5, geometry_of((3, 4), 5, 6, 3, padding=1)),
    "3x3": (19, geometry_of((7, 9), 3, 10, 3)),
    "3x3, padded": (17, geometry_of((14, 14), 20, 20, 3, padding=1)),
    "5x5, padded": (4, geometry_of((6, 7), 10, 17, 5, padding=2)),
    "padding beyond the kernel": (2, geometry_of((5, 6), 3, 4, 3, padding=(3, 4))),
    "several bands": (2, geometry_of((40, 30), 20, 33, 5, padding=1)),
    "several bands, 3x3": (2, geometry_of((47, 41), 20, 33, 3, padding=1)),
    "many channels": (1, geometry_of((5, 5), 130, 70, 3, padding=1)),
    "wide": (1, geometry_of((3, 1500), 1, 3, 3, padding=1)),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
# Of the largest value of the reference: the bound of the project, and what float64 leaves.
TOLERANCE = {"float32": 5e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def _algorithm(monkeypatch):
    monkeypatch.setitem(convolution_runner.ALGORITHMS, "winograd_images", WinogradImages())


def operands(case, dtype, rng):
    images, geometry = CASES[case]
    return (
        geometry,
        rng.standard_normal((images, *geometry.image, geometry.channels)).astype(dtype),
        rng.standard_normal((*geometry.kernel, geometry.channels, geometry.filters)).astype(dtype),
        rng.standard_normal((images, *geometry.out_image, geometry.filters)).astype(dtype),
    )


def convolution(geometry, dtype, threads=1):
    return convolution_runner.Convolution("winograd_images", geometry, dtype, threads)


def assert_close(result, exact):
    bound = TOLERANCE[result.dtype.name] * np.abs(exact).max()
    np.testing.assert_allclose(result, exact, rtol=0, atol=bound)


@EVERY_CASE
@DTYPES
def test_forward(case, dtype, rng):
    geometry, x, weight, _ = operands(case, dtype, rng)
    bias = rng.standard_normal(geometry.filters).astype(dtype)
    exact, _ = forward(x, weight, geometry)
    assert_close(convolution(geometry, dtype).forward(x, weight, bias), exact + bias)
    assert_close(convolution(geometry, dtype).forward(x, weight), exact)


@EVERY_CASE
@DTYPES
def test_backward_input(case, dtype, rng):
    geometry, _, weight, dy = operands(case, dtype, rng)
    dx = convolution(geometry, dtype).backward_input(dy, weight)
    assert_close(dx, backward_input(dy, weight, geometry)[0])


@EVERY_CASE
@DTYPES
def test_every_number_of_threads_gives_the_same_bits(case, dtype, rng):
    geometry, x, weight, dy = operands(case, dtype, rng)
    one, *others = (
        (
            convolution(geometry, dtype, threads).forward(x, weight, activation="tanh"),
            convolution(geometry, dtype, threads).backward_input(dy, weight, x, "relu"),
        )
        for threads in (1, 2, 3, 5)
    )
    for other in others:
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("activation", [kind for kind in KINDS if kind != "identity"])
def test_activations(activation, rng):
    geometry, x, weight, dy = operands("3x3, padded", "float64", rng)
    slope = 0.3
    layer = convolution(geometry, "float64", 2)
    y = layer.forward(x, weight, activation=activation, slope=slope)
    expected, _ = DEFINITIONS[activation](layer.forward(x, weight), slope)
    np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-14)
    before, derivative = DEFINITIONS[activation](x, slope)
    dx = layer.backward_input(dy, weight, before, activation, slope)
    plain = layer.backward_input(dy, weight)
    np.testing.assert_allclose(dx, plain * derivative, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_value_is_seen_in_its_image_and_in_no_other(bad, rng):
    geometry, x, weight, dy = operands("3x3, padded", "float32", rng)
    layer = convolution(geometry, "float32")
    x[2, 5, 5, 3] = bad
    y = layer.forward(x, weight)
    assert not np.isfinite(y[2, 4:7, 4:7]).any()
    assert np.isfinite(np.delete(y, 2, axis=0)).all()
    dy[16, 5, 5, 3] = bad
    dx = layer.backward_input(dy, weight)
    assert not np.isfinite(dx[16, 4:7, 4:7]).any()
    assert np.isfinite(np.delete(dx, 16, axis=0)).all()


def test_it_is_chosen_where_channels_fill_no_vectors():
    lenet = geometry_of((12, 12), 20, 50, 5)
    assert choose(lenet, FORWARD).name == "winograd_images"
    assert choose(lenet, BACKWARD_INPUT).name == "winograd_images"
    assert choose(lenet, BACKWARD_PARAMETERS).name == "winograd"
    assert choose(geometry_of((32, 32), 16, 16, 3, padding=1), FORWARD).name == "winograd"
    # Rows of a large image in all lanes leave the caches.
    assert choose(geometry_of((224, 224), 20, 20, 3, padding=1), FORWARD).name == "winograd"
    # Fewer tiles than by a convolution of dy with flipped weights, whatever the channels.
    assert choose(geometry_of((14, 14), 16, 16, 5), BACKWARD_INPUT).name == "winograd_images"


@pytest.mark.parametrize(
    ("batch", "name"), [(1, "winograd"), (8, "winograd"), (64, "winograd_images")]
)
def test_inference_of_a_few_images_leaves_no_lanes_empty(batch, name):
    lenet = geometry_of((12, 12), 20, 50, 5)
    assert choose(lenet, FORWARD, largest_batch=batch).name == name
