"""Each algorithm of convolution against the definition: odd sizes, both precisions, any threads."""

from __future__ import annotations

import numpy as np
import pytest
from convolution_reference import backward_input, backward_weight, forward
from convolution_runner import ALGORITHMS, Convolution
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastnn._compiler.activations import KINDS
from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT
from fastnn._compiler.convolution.geometry import Geometry, output_length


def geometry_of(image, channels, filters, kernel, stride=1, padding=0, dilation=1, groups=1):
    """A geometry by PyTorch's arguments; numbers mean the same in both directions."""
    kernel, stride, padding, dilation = (
        value if isinstance(value, tuple) else (value, value)
        for value in (kernel, stride, padding, dilation)
    )
    out = tuple(
        output_length(image[d], kernel[d], stride[d], padding[d], padding[d], dilation[d])
        for d in (0, 1)
    )
    return Geometry(image, channels, out, filters, kernel, stride, padding, dilation, groups)


# name: (images, geometry)
CASES = {
    "plain": (3, geometry_of((7, 9), 3, 10, 3)),
    "one channel": (5, geometry_of((28, 28), 1, 20, 5)),
    "one channel, padded": (2, geometry_of((28, 28), 1, 16, 5, padding=2)),
    "one filter": (2, geometry_of((6, 5), 10, 1, 3, padding=1)),
    "padded": (2, geometry_of((8, 8), 16, 17, 3, padding=1)),
    "many small images": (19, geometry_of((4, 4), 17, 50, 3, padding=1)),
    "padding beyond the kernel": (2, geometry_of((5, 6), 3, 4, 2, padding=(3, 4))),
    "stride": (2, geometry_of((9, 11), 16, 10, 3, stride=2, padding=1)),
    "stride in one direction": (2, geometry_of((9, 8), 3, 16, (3, 5), stride=(1, 3))),
    "stride beyond the kernel": (2, geometry_of((11, 10), 10, 3, 2, stride=3)),
    "first layer of AlexNet": (1, geometry_of((67, 67), 3, 64, 11, stride=4, padding=2)),
    "first layer of ResNet": (1, geometry_of((40, 40), 3, 64, 7, stride=2, padding=3)),
    "dilation": (2, geometry_of((12, 13), 3, 17, 3, padding=2, dilation=2)),
    "dilation and stride": (2, geometry_of((14, 13), 10, 5, 3, 2, 2, (2, 3))),
    "dilation a multiple of the stride": (2, geometry_of((14, 13), 3, 5, 3, 2, 4, 4)),
    "groups": (2, geometry_of((6, 7), 6, 34, 3, padding=1, groups=2)),
    "groups, stride and dilation": (2, geometry_of((11, 9), 6, 9, 3, 2, 1, 2, 3)),
    "depthwise": (2, geometry_of((6, 6), 10, 10, 3, padding=1, groups=10)),
    "1x1": (2, geometry_of((9, 9), 17, 33, 1)),
    "1x1, stride": (2, geometry_of((9, 8), 16, 49, 1, stride=2)),
    "small images, 5x5": (3, geometry_of((6, 6), 10, 17, 5, padding=2)),
    "small images, stride": (9, geometry_of((8, 8), 5, 18, 5, 2, 2)),
    "one output pixel": (3, geometry_of((4, 4), 5, 7, 4)),
    "deep": (1, geometry_of((5, 5), 130, 70, 3, padding=1)),
    "second layer of LeNet": (3, geometry_of((12, 12), 20, 50, 5)),
    "several bands": (2, geometry_of((40, 30), 20, 33, 5, padding=1)),
    "wide": (1, geometry_of((3, 1500), 1, 3, 3, padding=1)),
    "rows": (2, geometry_of((8, 8), 3, 16, 3, padding=1)),
    "rows of seven taps": (3, geometry_of((20, 37), 2, 7, (8, 7), padding=(1, 3))),
    "rows, stride and dilation down": (
        2,
        geometry_of((20, 45), 4, 8, (3, 5), (2, 1), (3, 2), (2, 1)),
    ),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES)
EVERY_ALGORITHM = pytest.mark.parametrize("name", ["im2col", "direct"])
EVERY_ALGORITHM_BACKWARD = pytest.mark.parametrize("name", ALGORITHMS)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
# The bound of a sum of n products in any order is n eps; rounding errors mostly cancel, so that
# a few eps more than their square root would be seen as a fault only for the shortest sums.
SLACK_TERMS = 4


def setup(case, dtype, rng):
    images, geometry = CASES[case]
    channels = geometry.channels // geometry.groups
    return (
        geometry,
        rng.standard_normal((images, *geometry.image, geometry.channels)).astype(dtype),
        rng.standard_normal((*geometry.kernel, channels, geometry.filters)).astype(dtype),
        rng.standard_normal((images, *geometry.out_image, geometry.filters)).astype(dtype),
    )


def skip_unfit(name, case):
    if not ALGORITHMS[name].fits(CASES[case][1], BACKWARD_INPUT):
        pytest.skip("computes no groups")


def assert_exact(result, exact, absolute, terms):
    """|error| <= (terms + few) eps sum |a| |b|."""
    eps = np.finfo(result.dtype).eps
    bound = (terms + SLACK_TERMS) * eps * absolute
    assert np.all(np.abs(result - exact) <= bound)


@EVERY_CASE
@EVERY_ALGORITHM
@DTYPES
def test_forward(name, case, dtype, rng):
    geometry, x, weight, _ = setup(case, dtype, rng)
    bias = rng.standard_normal(geometry.filters).astype(dtype)
    y = Convolution(name, geometry, dtype).forward(x, weight, bias)
    exact, absolute = forward(x, weight, geometry)
    assert_exact(y, exact + bias, absolute + np.abs(bias), geometry.depth)


@EVERY_CASE
@EVERY_ALGORITHM_BACKWARD
@DTYPES
def test_backward_input(name, case, dtype, rng):
    skip_unfit(name, case)
    geometry, _, weight, dy = setup(case, dtype, rng)
    dx = Convolution(name, geometry, dtype).backward_input(dy, weight)
    exact, absolute = backward_input(dy, weight, geometry)
    terms = geometry.taps * geometry.filters // geometry.groups
    assert_exact(dx, exact, absolute, terms)


@EVERY_CASE
@EVERY_ALGORITHM
@DTYPES
def test_backward_parameters(name, case, dtype, rng):
    geometry, x, _, dy = setup(case, dtype, rng)
    dweight, dbias = Convolution(name, geometry, dtype).backward_parameters(x, dy)
    exact, absolute = backward_weight(x, dy, geometry)
    terms = len(x) * geometry.pixels
    assert_exact(dweight, exact, absolute, terms)
    total = dy.astype(np.float64)
    assert_exact(dbias, total.sum((0, 1, 2)), np.abs(total).sum((0, 1, 2)), terms)


@EVERY_CASE
@EVERY_ALGORITHM
def test_threads_give_the_same_bits(name, case, rng):
    geometry, x, weight, dy = setup(case, "float32", rng)
    results = []
    for threads in (1, 2, 3):
        convolution = Convolution(name, geometry, "float32", threads)
        results.append(
            [
                convolution.forward(x, weight, activation="tanh"),
                convolution.backward_input(dy, weight, x, "relu"),
                *convolution.backward_parameters(x, dy),
            ]
        )
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@EVERY_CASE
def test_columns_at_any_number_of_threads_give_the_same_bits(case, rng):
    skip_unfit("col2im", case)
    geometry, x, weight, dy = setup(case, "float32", rng)
    one, *others = (
        Convolution("col2im", geometry, "float32", threads).backward_input(dy, weight, x, "relu")
        for threads in (1, 2, 3)
    )
    for other in others:
        np.testing.assert_array_equal(one, other)


@EVERY_ALGORITHM
@pytest.mark.parametrize("case", ["padded", "groups", "stride", "1x1", "rows"])
@pytest.mark.parametrize("activation", [kind for kind in KINDS if kind != "identity"])
def test_activations(name, case, activation, rng):
    geometry, x, weight, _ = setup(case, "float64", rng)
    slope = 0.3
    convolution = Convolution(name, geometry, "float64", 2)
    z = convolution.forward(x, weight)
    y = convolution.forward(x, weight, activation=activation, slope=slope)
    expected, _ = DEFINITIONS[activation](z, slope)
    np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-14)


@EVERY_ALGORITHM_BACKWARD
@pytest.mark.parametrize("case", ["padded", "groups", "stride", "1x1"])
@pytest.mark.parametrize("activation", [kind for kind in KINDS if kind != "identity"])
def test_gradients_of_activations(name, case, activation, rng):
    skip_unfit(name, case)
    geometry, x, weight, dy = setup(case, "float64", rng)
    slope = 0.3
    convolution = Convolution(name, geometry, "float64", 2)
    before, derivative = DEFINITIONS[activation](x, slope)
    dx = convolution.backward_input(dy, weight, before, activation, slope)
    plain = convolution.backward_input(dy, weight)
    np.testing.assert_allclose(dx, plain * derivative, rtol=1e-12, atol=1e-12)


def elu(x, slope):
    y = np.where(x > 0, x, slope * np.expm1(np.minimum(x, 0)))
    return y, np.where(x > 0, 1, y + slope)


# name: function of (x, slope) that gives (f(x), f'(x))
DEFINITIONS = {
    "relu": lambda x, slope: (np.maximum(x, 0), (x > 0).astype(x.dtype)),
    "leaky_relu": lambda x, slope: (np.where(x > 0, x, slope * x), np.where(x > 0, 1, slope)),
    "sigmoid": lambda x, slope: (1 / (1 + np.exp(-x)), np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "tanh": lambda x, slope: (np.tanh(x), 1 - np.tanh(x) ** 2),
    "elu": elu,
}


@given(
    images=st.integers(1, 9),
    image=st.tuples(st.integers(1, 12), st.integers(1, 45)),
    channels=st.integers(1, 5),
    filters=st.integers(1, 17),
    kernel=st.tuples(st.integers(1, 8), st.sampled_from([1, 3, 4, 5, 7])),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dtype=st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=60)
def test_few_channels_and_filters(images, image, channels, filters, kernel, padding, dtype):
    assume(all(image[d] + 2 * padding[d] >= kernel[d] for d in (0, 1)))
    geometry = geometry_of(image, channels, filters, kernel, padding=padding)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, *image, channels)).astype(dtype)
    weight = rng.standard_normal((*kernel, channels, filters)).astype(dtype)
    bias = rng.standard_normal(filters).astype(dtype)
    dy = rng.standard_normal((images, *geometry.out_image, filters)).astype(dtype)
    convolution = Convolution("direct", geometry, dtype, 2)
    exact, absolute = forward(x, weight, geometry)
    y = convolution.forward(x, weight, bias)
    assert_exact(y, exact + bias, absolute + np.abs(bias), geometry.depth)
    dweight, _ = convolution.backward_parameters(x, dy)
    exact, absolute = backward_weight(x, dy, geometry)
    assert_exact(dweight, exact, absolute, images * geometry.pixels)


@EVERY_ALGORITHM
@pytest.mark.parametrize("case", ["padded", "rows"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_values_reach_what_they_touch_and_nothing_else(name, bad, case, rng):
    geometry, x, weight, dy = setup(case, "float32", rng)
    convolution = Convolution(name, geometry, "float32")
    x[0, 3, 3, 2] = bad
    y = convolution.forward(x, weight)
    touched = np.zeros(y.shape, bool)
    touched[0, 2:5, 2:5] = True
    np.testing.assert_array_equal(~np.isfinite(y), touched)
    dweight, _ = convolution.backward_parameters(x, dy)
    touched = np.zeros(dweight.shape, bool)
    touched[:, :, 2] = True
    np.testing.assert_array_equal(~np.isfinite(dweight), touched)


@EVERY_ALGORITHM_BACKWARD
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_gradients_reach_what_they_touch_and_nothing_else(name, bad, rng):
    geometry, x, weight, dy = setup("padded", "float32", rng)
    convolution = Convolution(name, geometry, "float32")
    dy[1, 0, 0, 0] = bad
    dx = convolution.backward_input(dy, weight)
    touched = np.zeros(x.shape, bool)
    touched[1, :2, :2] = True
    np.testing.assert_array_equal(~np.isfinite(dx), touched)


@EVERY_ALGORITHM
def test_without_bias(name, rng):
    geometry, x, weight, dy = setup("plain", "float64", rng)
    convolution = Convolution(name, geometry, "float64", with_bias=False)
    np.testing.assert_allclose(
        convolution.forward(x, weight), forward(x, weight, geometry)[0], rtol=1e-12, atol=1e-12
    )
    dweight, dbias = convolution.backward_parameters(x, dy)
    assert dbias is None
    np.testing.assert_allclose(dweight, backward_weight(x, dy, geometry)[0], rtol=1e-12, atol=1e-12)
