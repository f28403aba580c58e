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
