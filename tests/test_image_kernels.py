"""Changes of layout and frames of images: kernels that move elements, compared with NumPy."""

import itertools

import numpy as np
import pytest
from kernel_runner import aligned, kernel_program

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def moved(kernel, dtype, x, shape, sizes, threads):
    """What a kernel writes, with a guard behind it that it must not touch."""
    memory = aligned(np.full(np.prod(shape) + 64, 7), dtype)
    program = kernel_program(kernel, dtype, [memory, x], sizes, threads=threads, batch=len(x))
    program.forward()
    assert (memory[-64:] == 7).all()
    return memory[:-64].reshape(shape)


@every_dtype
@pytest.mark.parametrize("channels", [1, 2, 3, 8, 16, 17, 40])
def test_layouts(channels, dtype):
    for images, pixels in itertools.product((1, 3), (1, 5, 64, 511, 512, 1100)):
        x = aligned(np.random.default_rng(0).normal(size=(images, channels, pixels)), dtype)
        sizes = [images, channels, pixels]
        wanted = x.transpose(0, 2, 1)
        for threads in (1, 2, 3):
            last = moved("images_to_channels_last", dtype, x, wanted.shape, sizes, threads)
            np.testing.assert_array_equal(last, wanted)
            plain = moved("images_to_plain", dtype, aligned(wanted), x.shape, sizes, threads)
            np.testing.assert_array_equal(plain, x)


@every_dtype
@pytest.mark.parametrize("frame", [(0, 0, 0, 0), (1, 0, 0, 2), (2, 3, 1, 0)])
def test_frames(frame, dtype):
    left, right, top, bottom = frame
    x = aligned(np.random.default_rng(0).normal(size=(3, 5, 4, 7)), dtype)
    wanted = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    sizes = [3, 5, 4 * 7, top, left * 7, wanted.shape[1], wanted.shape[2] * 7]
    for threads in (1, 2, 3):
        padded = moved("pad_images", dtype, x, wanted.shape, sizes, threads)
        np.testing.assert_array_equal(padded, wanted)
        cropped = moved("crop_images", dtype, aligned(padded), x.shape, sizes, threads)
        np.testing.assert_array_equal(cropped, x)
