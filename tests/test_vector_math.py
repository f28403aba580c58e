"""Exponential functions against a wider type, in units in the last place."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.nn import functional

WIDER = {np.float32: np.float64, np.float64: np.longdouble}
DTYPES = pytest.mark.parametrize("dtype", WIDER, ids=lambda dtype: dtype.__name__)

pytestmark = pytest.mark.skipif(
    np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps, reason="no type wider than float64"
)


def points(dtype, lowest, highest):
    """Evenly and logarithmically spread numbers of both signs, down to the smallest."""
    tiny = np.log10(float(np.finfo(dtype).tiny))
    even = np.linspace(lowest, highest, 200_001)
    small = 10 ** np.linspace(tiny, np.log10(highest), 100_001)
    negative = -(10 ** np.linspace(tiny, np.log10(-lowest), 100_001))
    return np.concatenate([even, small, negative]).astype(dtype)[None, :]


def errors_in_ulp(output, exact):
    """Distance in units of the last place of the exact value; of the smallest normal below it."""
    floor = np.finfo(output.dtype).tiny
    unit = np.spacing(np.maximum(np.abs(exact).astype(output.dtype), floor))
    return float((np.abs(output.astype(exact.dtype) - exact) / unit).max())


def exact_sigmoid(x):
    exponential = np.exp(-np.abs(x))
    return np.where(x > 0, 1, exponential) / (1 + exponential)


def exact_elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


@DTYPES
@pytest.mark.parametrize(
    ("name", "exact", "bounds"),  # in float32 and in float64
    [
        ("sigmoid", exact_sigmoid, (2.4, 2.1)),
        ("tanh", np.tanh, (2.6, 2.6)),
        ("elu", exact_elu, (1.0, 1.3)),
    ],
)
def test_activations(name, exact, bounds, dtype):
    lowest = {np.float32: -87.0, np.float64: -708.0}[dtype]
    x = points(dtype, lowest, -lowest)
    output = getattr(functional, name)(x)
    assert output.dtype == dtype
    bound = bounds[0] if dtype is np.float32 else bounds[1]
    assert errors_in_ulp(output, exact(x.astype(WIDER[dtype]))) < bound


@DTYPES
@pytest.mark.parametrize("spread", [1.0, 5.0, 40.0])
@pytest.mark.parametrize("classes", [2, 3, 10, 16, 17, 100, 1000])
def test_softmax(classes, spread, dtype):
    x = np.random.default_rng(0).uniform(-spread, spread, (2000, classes)).astype(dtype)
    # The difference to the maximum is rounded before exp: taken as given, not as an error of exp.
    shifted = (x - x.max(1, keepdims=True)).astype(WIDER[dtype])
    exponential = np.exp(shifted)
    total = exponential.sum(1, keepdims=True)
    assert errors_in_ulp(functional.softmax(x), exponential / total) < 7
    # The logarithm is a difference, and near zero as accurate as numbers of the size of 1 are.
    wide = x.astype(WIDER[dtype])
    wide -= wide.max(1, keepdims=True)
    exact = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    error = np.abs(functional.log_softmax(x) - exact) / (np.finfo(dtype).eps * (1 + np.abs(exact)))
    assert float(error.max()) < 3.5


@DTYPES
def test_limits(dtype):
    x = np.array([[-np.inf, -1e4, -0.0, 0.0, 1e4, np.inf, np.nan]], dtype)
    for name, expected in {
        "sigmoid": [0, 0, 0.5, 0.5, 1, 1, np.nan],
        "tanh": [-1, -1, -0.0, 0.0, 1, 1, np.nan],
        "elu": [-1, -1, -0.0, 0.0, 1e4, np.inf, np.nan],
    }.items():
        output = getattr(functional, name)(x)
        np.testing.assert_array_equal(output, [expected], err_msg=name)
        if name == "tanh":
            assert np.signbit(output[0, 2:4]).tolist() == [True, False]


@DTYPES
def test_softmax_of_large_numbers(dtype):
    x = np.array([[1e30, 1e30], [-1e30, 1e30], [-np.inf, 0.0]], dtype)
    half = dtype(0.5)
    np.testing.assert_array_equal(functional.softmax(x), [[half, half], [0, 1], [0, 1]])
    with np.errstate(all="raise"):
        assert functional.log_softmax(x)[2].tolist() == [-np.inf, 0]


@DTYPES
def test_every_position_of_a_vector_is_computed_alike(dtype):
    x = np.linspace(-5, 5, 97, dtype=dtype)
    for name in ("sigmoid", "tanh", "elu"):
        function = getattr(functional, name)
        whole = function(x[None, :])[0]
        for width in range(1, 40):
            np.testing.assert_array_equal(function(x[None, :width])[0], whole[:width])


@DTYPES
@pytest.mark.parametrize("beta", [0.25, 0.75, 1.5])
def test_logarithm_in_a_power(beta, dtype):
    # A window of one channel without k: x (x^2)^-beta, by exp(-beta log(x^2)).
    x = (10 ** np.linspace(-12, 12, 100_001)).astype(dtype)[:, None]
    output = functional.local_response_norm(x, 1, alpha=1.0, beta=beta, k=0.0)
    wide = x.astype(WIDER[dtype])
    exact = wide * (wide**2) ** -beta
    unit = np.finfo(dtype).eps
    # The exponent is rounded, which its size makes a relative error; so are x^2 and the product.
    allowed = (4 + np.abs(beta * np.log(wide**2))) * unit
    assert (np.abs(output.astype(wide.dtype) / exact - 1) < allowed).all()
