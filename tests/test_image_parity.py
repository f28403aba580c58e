"""Operators on images: the same values and gradients as PyTorch's, in every geometry."""

import numpy as np
import pytest

import fastnn
from fastnn import nn

torch = pytest.importorskip("torch", reason="parity is measured against PyTorch, which is absent")

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
CHANNELS = (1, 3, 16, 17, 70)


def images(dtype, *shape, seed=0, ties=False):
    """Random images; with `ties`, of few different values."""
    x = np.random.default_rng(seed).normal(size=shape)
    return (np.round(x) if ties else x).astype(dtype)


def assert_same(ours, theirs, x, units=8):
    """Output and gradient of two modules, within roundoff of the largest element."""
    ours = ours.astype(x.dtype)
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    expected = theirs(tensor)
    output, pullback = fastnn.vjp(ours, x)
    assert output.shape == tuple(expected.shape)
    upstream = images(x.dtype, *output.shape, seed=1)
    expected.backward(torch.from_numpy(upstream))
    gradient = pullback(upstream)
    for got, wanted in ((output, expected.detach().numpy()), (gradient, tensor.grad.numpy())):
        wanted_size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-3)
        allowed = units * np.finfo(x.dtype).eps * wanted_size
        np.testing.assert_allclose(got, wanted, rtol=0, atol=allowed)


MAX_POOLS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)},
    {"kernel_size": 3, "stride": 2, "dilation": 2},
    {"kernel_size": (2, 3), "stride": (4, 3), "padding": 1, "dilation": (2, 1)},
    # Windows that share no pixel and yet lie one in the other.
    {"kernel_size": (3, 1), "stride": (3, 1), "padding": (1, 0), "dilation": (2, 1)},
    {"kernel_size": (1, 3), "stride": (1, 3), "padding": (0, 1), "dilation": (1, 2)},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": 5, "stride": 1, "padding": 2},
]


@every_dtype
@pytest.mark.parametrize("options", MAX_POOLS, ids=str)
def test_max_pool(options, dtype):
    for channels in CHANNELS:
        for ties in (False, True):
            x = images(dtype, 3, channels, 9, 8, ties=ties)
            assert_same(nn.MaxPool2d(**options), torch.nn.MaxPool2d(**options), x)


@every_dtype
def test_max_pool_of_nan_and_infinity(dtype):
    x = images(dtype, 2, 17, 8, 8)
    x[0, 3, 2, 3] = x[0, 3, 3, 3] = x[1, 5, 0, 0] = np.nan
    x[0, 4] = -np.inf
    x[1, 6, 5, 5] = np.inf
    for options in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}):
        assert_same(nn.MaxPool2d(**options), torch.nn.MaxPool2d(**options), x)


@every_dtype
def test_max_pool_of_nothing_but_padding(dtype):
    x = images(dtype, 2, 3, 2, 2)
    options = {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 3}
    output, pullback = fastnn.vjp(nn.MaxPool2d(**options).astype(dtype), x)
    np.testing.assert_array_equal(output, torch.nn.MaxPool2d(**options)(torch.from_numpy(x)))
    assert (output == -np.inf).all()
    assert (pullback(np.ones_like(output)) == 0).all()


@every_dtype
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
        {
            **{"kernel_size": 3, "stride": 2, "padding": 1},
            **{"ceil_mode": True, "count_include_pad": False},
        },
        {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0), "divisor_override": 5},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": (9, 8)},
    ],
    ids=str,
)
def test_average_pool(options, dtype):
    for channels in CHANNELS:
        x = images(dtype, 3, channels, 9, 8)
        assert_same(nn.AvgPool2d(**options), torch.nn.AvgPool2d(**options), x)


@every_dtype
@pytest.mark.parametrize("size", [1, 3, (4, 7), (None, 2), (9, 8), (12, 3)], ids=str)
def test_adaptive_average_pool(size, dtype):
    for channels in CHANNELS:
        x = images(dtype, 3, channels, 9, 8)
        assert_same(nn.AdaptiveAvgPool2d(size), torch.nn.AdaptiveAvgPool2d(size), x)


@every_dtype
@pytest.mark.parametrize("size", [1, 2, 3, 5, 40])
def test_local_response_norm(size, dtype):
    for channels in CHANNELS:
        for options in ({}, {"alpha": 2.0, "beta": 0.3, "k": 0.5}):
            x = images(dtype, 3, channels, 5, 4)
            ours = nn.LocalResponseNorm(size, **options)
            assert_same(ours, torch.nn.LocalResponseNorm(size, **options), x, units=32)


@every_dtype
@pytest.mark.parametrize("padding", [0, 2, (1, 2, 3, 0)], ids=str)
def test_zero_padding(padding, dtype):
    for channels in CHANNELS:
        x = images(dtype, 3, channels, 5, 4)
        assert_same(nn.ZeroPad2d(padding), torch.nn.ZeroPad2d(padding), x, units=0)


@every_dtype
@pytest.mark.parametrize("factor", [1, 2, (3, 2)], ids=str)
def test_upsampling(factor, dtype):
    for channels in CHANNELS:
        x = images(dtype, 3, channels, 5, 4)
        assert_same(nn.Upsample(scale_factor=factor), torch.nn.Upsample(scale_factor=factor), x)


@every_dtype
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": None},
        {"affine": False},
        {"track_running_stats": False},
        {"eps": 0.1, "momentum": 0.7},
    ],
    ids=str,
)
def test_batch_normalization(options, dtype):
    for channels in CHANNELS:
        ours, theirs = (
            nn.BatchNorm2d(channels, **options),
            torch.nn.BatchNorm2d(channels, **options),
        )
        theirs = theirs.to(getattr(torch, dtype))
        ours = ours.astype(dtype)
        for training in (True, True, False):
            x = images(dtype, 3, channels, 9, 8) * 3 + 1
            assert_same(ours.train(training), theirs.train(training), x, units=64)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(
                ours.state_dict()[key], value.numpy(), rtol=64 * np.finfo(dtype).eps
            )


def test_batch_normalization_of_one_value():
    layer = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="batch"):
        layer(np.zeros((1, 3, 1, 1), np.float32))
    assert layer(np.zeros((2, 3, 1, 1), np.float32)).shape == (2, 3, 1, 1)
    assert layer(np.zeros((1, 3, 1, 2), np.float32)).shape == (1, 3, 1, 2)
    with pytest.raises(ValueError, match="height"):
        layer(np.zeros((2, 3), np.float32))


@every_dtype
def test_slopes_and_pieces_are_of_channels(dtype):
    x = images(dtype, 3, 6, 5, 4)
    theirs = torch.nn.PReLU(6).to(getattr(torch, dtype))
    assert_same(nn.PReLU(6), theirs, x)
    pieces = torch.from_numpy(x).reshape(3, 2, 3, 5, 4).max(1).values.numpy()
    np.testing.assert_array_equal(nn.functional.maxout(x, 2), pieces)
    beside = nn.functional.concatenate([x, x[:, :2]])
    np.testing.assert_array_equal(beside, np.concatenate([x, x[:, :2]], 1))
