"""Max-pooling of 2 x 2 pixels side by side, which has kernels of its own, against NumPy."""

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import functional


def pooled(x):
    """Maxima of windows, and the gradient of x when that of each maximum is its number."""
    batch, channels, height, width = x.shape
    rows, columns = height // 2, width // 2
    inside = x[:, :, : 2 * rows, : 2 * columns].reshape(batch, channels, rows, 2, columns, 2)
    taps = inside.swapaxes(3, 4).reshape(batch, channels, rows, columns, 4)
    y = taps.max(-1)
    # The first of equals; of several NaN the last.
    winner = np.where(np.isnan(y), 3 - np.isnan(taps)[..., ::-1].argmax(-1), taps.argmax(-1))
    dy = np.arange(1, y.size + 1, dtype=x.dtype).reshape(y.shape)
    gradients = np.where(winner[..., None] == np.arange(4), dy[..., None], 0)
    dx = np.zeros_like(x)
    dx[:, :, : 2 * rows, : 2 * columns] = (
        gradients.reshape(batch, channels, rows, columns, 2, 2)
        .swapaxes(3, 4)
        .reshape(batch, channels, 2 * rows, 2 * columns)
    )
    return y, dy, dx


def images(shape, dtype, rng):
    """Few different values, so that there are equals; some are NaN or infinite."""
    x = rng.integers(-2, 3, shape).astype(dtype)
    special = rng.random(shape)
    x[special < 0.05] = np.nan
    x[(special > 0.05) & (special < 0.08)] = -np.inf
    x[special > 0.97] = np.inf
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 17, 20, 50, 64])
def test_pairs(channels, dtype, rng):
    for height, width in ((2, 2), (5, 7), (4, 67), (6, 32)):
        x = images((3, channels, height, width), dtype, rng)
        y, dy, dx = pooled(x)
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            output, pullback = fastnn.vjp(nn.MaxPool2d(2).astype(dtype), x)
            np.testing.assert_array_equal(output, y)
            np.testing.assert_array_equal(pullback(dy), dx)
            np.testing.assert_array_equal(functional.max_pool2d(x, 2), y)


def test_images_of_one_channel_are_not_read_beyond(rng):
    """They are the caller's memory: what lies behind them must not matter."""
    x = images((2, 1, 6, 38), "float32", rng)
    memory = np.full(x.size + 64, np.nan, "float32")
    memory[: x.size] = x.ravel()
    y, dy, dx = pooled(x)
    output, pullback = fastnn.vjp(nn.MaxPool2d(2), memory[: x.size].reshape(x.shape))
    np.testing.assert_array_equal(output, y)
    np.testing.assert_array_equal(pullback(dy), dx)
