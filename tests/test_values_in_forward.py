"""What people write in a `forward` of PyTorch: it works, or the error says what to write."""

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import functional as F

IMAGES = np.random.default_rng(0).standard_normal((3, 4, 5, 6))


class Written(nn.Module):
    """A convolution, whose values lie channels-last, and then what a test writes."""

    def __init__(self, write):
        super().__init__()
        self.convolution = nn.Conv2d(4, 2, 1).astype(np.float64)
        self.write = write

    def forward(self, x):
        return self.write(self.convolution(x))


def written(write):
    module = Written(write)
    return module(IMAGES), module.convolution(IMAGES)


def test_shapes_are_those_of_arrays():
    seen = []

    def look(x):
        batch, channels, height, width = x.shape
        seen.append((channels, height, width, x.shape[1:], x.ndim, x.dim(), len(x.shape)))
        assert x.size(1) == channels and x.size() == x.shape
        assert x.size(0) is batch and str(x.shape) == "(batch, 2, 5, 6)"
        assert x.shape == F.relu(x).shape
        return x

    written(look)
    assert seen == [(2, 5, 6, (2, 5, 6), 4, 4, 4)]


@pytest.mark.parametrize(
    "shape", [(3, -1), (3, 60), (3, 2, 30), (3, 12, 5, 1), (3, -1, 3, 2), (3, 2, 5, 6)]
)
@pytest.mark.parametrize("first", ["shape", "size", "minus one"])
@pytest.mark.parametrize("method", ["reshape", "view", "tuple"])
def test_reshape(shape, first, method):
    def write(x):
        if first == "minus one":
            sizes = (-1, *(60 // -int(np.prod(shape[1:])) if n == -1 else n for n in shape[1:]))
        else:
            sizes = (x.shape[0] if first == "shape" else x.size(0), *shape[1:])
        return x.reshape(sizes) if method == "tuple" else getattr(x, method)(*sizes)

    result, x = written(write)
    np.testing.assert_array_equal(result, x.reshape(shape))


def test_flatten():
    for write in (
        lambda x: x.flatten(1),
        lambda x: x.flatten(),
        lambda x: F.flatten(x),
        lambda x: x.flatten(start_dim=1),
    ):
        result, x = written(write)
        np.testing.assert_array_equal(result, x.reshape(3, -1))
    result, x = written(lambda x: x.flatten(2))
    np.testing.assert_array_equal(result, x.reshape(3, 2, 30))
    result, x = written(lambda x: x.flatten(1, 2))
    np.testing.assert_array_equal(result, x.reshape(3, 10, 6))


def test_gradients_pass_a_reshape():
    def write(x):
        return F.tanh(x.view(x.size(0), -1)).reshape(-1, 5, 6, 2) * 2

    assert fastnn.gradient_check(Written(write), IMAGES)


def test_the_mean_over_the_pixels():
    result, x = written(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1))
    np.testing.assert_allclose(result, x.mean(axis=(2, 3)), rtol=1e-12)
    with pytest.raises(AttributeError, match=r"F.adaptive_avg_pool2d\(x, 1\).flatten\(1\)"):
        written(lambda x: x.mean((2, 3)))


REFUSED = {
    "batch size": (lambda x: x * x.shape[0], TypeError, "batch size is not known in `forward`"),
    "batch size of a test": (lambda x: x if x.shape[0] == 1 else -x, TypeError, "not known"),
    "range": (lambda x: [x for _ in range(x.size(0))], TypeError, "not known"),
    "no batch": (lambda x: x.reshape(60), ValueError, "expected the batch first"),
    "batch joined": (lambda x: x.reshape(-1, 30), ValueError, "60 elements an example"),
    "batch given": (lambda x: x.reshape(3, 60), ValueError, r"x.reshape\(x.shape\[0\], ...\)"),
    "two unknown": (lambda x: x.reshape(-1, -1), ValueError, "reshape: got"),
    "no shape": (lambda x: x.reshape(), ValueError, "reshape: got"),
    "does not divide": (lambda x: x.view(x.shape[0], 7, -1), ValueError, "reshape: got"),
    "zero": (lambda x: x.view(x.shape[0], 0, -1), ValueError, "reshape: got"),
    "broken": (lambda x: x.view(x.shape[0], 60.0), TypeError, "integer"),
    "all axes": (lambda x: x.flatten(0), ValueError, "expected axes after the batch"),
    "method": (lambda x: x.relu(), AttributeError, r"write F.relu\(x\)"),
    "index": (lambda x: x[:, 0], TypeError, "can't be indexed or cut"),
    "product": (lambda x: x @ x, TypeError, r"F.linear\(x, w\)"),
    "power": (lambda x: x**2, TypeError, r"x \* x"),
    "modulus": (lambda x: abs(x), TypeError, r"F.relu\(x\) \+ F.relu\(-x\)"),
    "quotient": (lambda x: x / x, TypeError, "expected a number"),
    "inverse": (lambda x: 1 / x, TypeError, "can't be a divisor"),
    "transpose": (lambda x: x.permute(0, 2, 3, 1), AttributeError, "can't be exchanged"),
    "unknown": (lambda x: x.erfinv(), AttributeError, "has no 'erfinv': compute with fastnn.nn"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_recorded_says_so(name):
    write, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        written(write)


def test_shapes_of_inputs():
    class Heads(nn.Module):
        def forward(self, x):
            assert x.shape[1:] == (4, 5, 6) and repr(x) == "Value(batch, 4, 5, 6; float64)"
            return x.reshape(x.shape[0], 2, 2 * x.shape[2] * x.shape[3])

    np.testing.assert_array_equal(Heads()(IMAGES), IMAGES.reshape(3, 2, 60))
