"""Conv2d of any geometry, against SciPy and by its derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

import fastnn
from fastnn import nn
from fastnn.nn import functional


@st.composite
def geometries(draw):
    """Arguments of a convolution, and the shape of its input."""
    pairs = lambda most: st.tuples(*[st.integers(1, most)] * 2)  # noqa: E731
    kernel, stride, dilation = draw(pairs(5)), draw(pairs(3)), draw(pairs(2))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 2))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels = groups * draw(st.sampled_from([1, 3, 8, 17]))
    filters = groups * draw(st.sampled_from([1, 2, 16, 17]))
    extents = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    image = tuple(max(1, extent) + draw(st.integers(0, 6)) for extent in extents)
    shape = (draw(st.integers(1, 3)), channels, *image)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return shape, (filters, channels // groups, *kernel), options


def by_scipy(x, weight, bias, stride, padding, dilation, groups):
    """The correlation with kernels that zeros spread, of which a stride takes every so many."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    size = [(n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilation, strict=True)]
    kernels = np.zeros((*weight.shape[:2], *size))
    kernels[:, :, :: dilation[0], :: dilation[1]] = weight
    channels, of_group = weight.shape[1], len(weight) // groups
    y = []
    for image in x:
        for k, kernel in enumerate(kernels):
            first = k // of_group * channels
            seen = image[first : first + channels]
            sums = correlate(seen, kernel, "valid", "direct")[0]
            y.append(sums[:: stride[0], :: stride[1]] + bias[k])
    return np.array(y).reshape(len(x), len(weight), *y[0].shape)


@settings(max_examples=60, deadline=None)
@given(geometries(), st.sampled_from(["auto", "direct", "im2col"]), st.integers(0, 99))
def test_values_and_gradients(geometry, algorithm, seed):
    shape, weight_shape, options = geometry
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=shape), rng.normal(size=weight_shape)
    bias = rng.normal(size=len(weight))
    layer = nn.Conv2d(
        shape[1], len(weight), weight_shape[2:], algorithm=algorithm, **options
    ).astype(np.float64)
    layer.load_state_dict({"weight": weight, "bias": bias})
    expected = by_scipy(x, weight, bias, **options)
    sums = by_scipy(abs(x), abs(weight), abs(bias), **options)
    y, pullback = fastnn.vjp(layer, x)
    bound = 8e-14 if algorithm == "auto" else 4e-15  # Winograd's transforms may take part
    assert (abs(y - expected) <= bound * sums.max()).all()
    # The convolution is linear: <dy, y(v)> = <dx, v>, and the same for the weights.
    dy, v, w = rng.normal(size=y.shape), rng.normal(size=x.shape), rng.normal(size=weight.shape)
    dx = pullback(dy)
    zero = np.zeros(len(weight))
    scale = np.abs(dy).sum() * sums.max()
    assert abs(np.vdot(dy, by_scipy(v, weight, zero, **options)) - np.vdot(dx, v)) < 1e-13 * scale
    by_weight = np.vdot(layer.weight.grad, w)
    assert abs(np.vdot(dy, by_scipy(x, w, zero, **options)) - by_weight) < 1e-13 * scale
    np.testing.assert_allclose(layer.bias.grad, dy.sum((0, 2, 3)), rtol=1e-11, atol=1e-11)


def test_same_padding_of_an_even_kernel():
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    y = functional.conv2d(x, np.ones((1, 1, 2, 2)), padding="same")
    # The zeros are below and to the right.
    np.testing.assert_allclose(y[0, 0, 0], [10, 14, 18, 10])
    assert y.shape == x.shape
    assert functional.conv2d(x, np.ones((1, 1, 2, 2)), padding="valid").shape == (1, 1, 2, 3)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation"),
    [(3, 10**12, 1), ((1, 3), (10**12, 1), (10**12, 1)), (1, 1, 10**12), (3, 10**30, 2)],
)
def test_distances_without_end(algorithm, groups, kernel_size, stride, dilation, rng):
    """A stride beyond the image, and a dilation of one tap, are whatever they are."""
    options = {"stride": stride, "dilation": dilation, "groups": groups, "algorithm": algorithm}
    layer = nn.Conv2d(16, 16, kernel_size, **options).astype(np.float64)
    x = rng.normal(size=(2, 16, 7, 6))
    y = layer(x)
    assert fastnn.gradient_check(layer, x, samples=20)
    layer.stride = tuple(min(s, 7) for s in layer.stride)
    layer.dilation = tuple(min(d, 7) for d in layer.dilation)
    np.testing.assert_array_equal(layer(x), y)


@pytest.mark.parametrize("algorithm", ["auto", "winograd", "direct", "im2col"])
def test_a_layer_twice_in_a_network(algorithm, rng):
    """One weight, prepared for two sizes of images, and a gradient from both."""
    layer = nn.Conv2d(16, 16, 3, padding=1, algorithm=algorithm)
    model = nn.Sequential(layer, nn.Tanh(), nn.MaxPool2d(2), layer).astype(np.float64)
    assert fastnn.gradient_check(model, rng.normal(size=(2, 16, 6, 8)), samples=30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"stride": (1, 0)}, "stride"),
        ({"dilation": 1.5}, "dilation=1.5"),
        ({"padding": -1}, "padding=-1"),
        ({"padding": "full"}, "padding='full'"),
        ({"padding": "same", "stride": 2}, "stride of 1"),
        ({"groups": 2}, "multiples of groups=2"),
        ({"algorithm": "fast"}, "algorithm='fast'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        nn.Conv2d(**{"in_channels": 3, "out_channels": 4, "kernel_size": 3, **options})


def test_wrong_inputs():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"layer '0' \(conv2d\): got 2 channels .* expected 3"):
        layer(np.zeros((1, 2, 5, 5)))
    with pytest.raises(ValueError, match="expected at least the kernel's extent"):
        layer(np.zeros((1, 3, 2, 5)))
    with pytest.raises(ValueError, match=r"expected \(batch, channels, height, width\)"):
        layer(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="'winograd' does not compute a kernel of"):
        nn.Conv2d(3, 4, 4, algorithm="winograd")(np.zeros((1, 3, 5, 5)))
