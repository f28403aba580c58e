"""The operators on images, in rows like those of operator_table.py.

The width of a row is the number of channels. References are loops over windows in NumPy.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from operator_case import Case as AnyCase
from operator_references import largest_piece, leaky, linear, relu
from operator_table import Function, applied

from fastnn import nn
from fastnn.nn import functional

HEIGHT, WIDTH = 6, 5

# 30 pixels make work enough for threads of fewer examples than a row of features does.
Case = functools.partial(AnyCase, most=(65, 100))


def images(rng, batch, channels):
    return (rng.normal(scale=2, size=(batch, channels, HEIGHT, WIDTH)),)


def two_images(rng, batch, channels):
    return *images(rng, batch, channels), *images(rng, batch, channels)


def images_of(pieces):
    return lambda rng, batch, channels: images(rng, batch, pieces * channels)


def both(number):
    return number if isinstance(number, tuple) else (number, number)


def starts_of_windows(length, kernel, stride, padding, dilation, ceil_mode):
    """Where windows begin: the last in ceil mode not beyond the input and the padding before it."""
    windows = (length + 2 * padding - dilation * (kernel - 1) - 1) / stride
    count = (math.ceil if ceil_mode else math.floor)(windows) + 1
    starts = [stride * i - padding for i in range(count)]
    return [start for start in starts if not ceil_mode or start < length]


def by_windows(x, reduce, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """reduce(elements of a window (batch, channels, n), elements of it with padding)"""
    sizes = zip(
        x.shape[2:],
        both(kernel),
        both(kernel if stride is None else stride),
        both(padding),
        both(dilation),
        strict=True,
    )
    axes = []
    for length, k, s, p, d in sizes:
        starts = starts_of_windows(length, k, s, p, d, ceil_mode)
        axes.append(
            [
                (
                    [i for i in range(start, start + d * k, d) if 0 <= i < length],
                    min(start + k, length + p) - start,
                )
                for start in starts
            ]
        )
    rows, columns = axes
    result = np.empty((*x.shape[:2], len(rows), len(columns)))
    for (i, (r, down)), (j, (s, across)) in itertools.product(enumerate(rows), enumerate(columns)):
        window = x[:, :, r][:, :, :, s].reshape(*x.shape[:2], -1)
        result[:, :, i, j] = reduce(window, down * across)
    return result


def max_pool(x, **options):
    return by_windows(x, lambda window, counted: window.max(-1), **options)


def average_pool(x, count_include_pad=True, divisor_override=None, **options):
    def average(window, counted):
        size = counted if count_include_pad else window.shape[-1]
        return window.sum(-1) / (divisor_override or size)

    return by_windows(x, average, **options)


def adaptive_average(x, size):
    rows, columns = (
        [slice(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        for n, m in zip(x.shape[2:], both(size), strict=True)
    )
    return np.stack([np.stack([x[:, :, r, s].mean((2, 3)) for s in columns], -1) for r in rows], -2)


def zero_padded(x, left, right, top, bottom):
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def local_response(x, size, alpha, beta, k):
    sums = np.zeros_like(x)
    for channel in range(x.shape[1]):
        around = x[:, max(0, channel - size // 2) : channel + (size - 1) // 2 + 1]
        sums[:, channel] = (around**2).sum(1)
    return x / (k + alpha / size * sums) ** beta


def of_channels(values):
    """(channels,) beside (batch, channels, height, width)"""
    return np.reshape(values, (-1, 1, 1))


def normalized(state, x, mean, var, layer=""):
    weight, bias = state.get(f"{layer}weight", 1.0), state.get(f"{layer}bias", 0.0)
    scaled = (x - of_channels(mean)) / np.sqrt(of_channels(var) + 1e-5)
    return scaled * of_channels(weight) + of_channels(bias)


def normalized_by_batch(state, x, layer=""):
    return normalized(state, x, x.mean((0, 2, 3)), x.var((0, 2, 3)), layer)


def normalized_by_running(state, x, layer=""):
    return normalized(state, x, state[f"{layer}running_mean"], state[f"{layer}running_var"], layer)


# Squares that add up to about one, so that the power matters.
RESPONSE = {"size": 3, "alpha": 1.5, "beta": 0.75, "k": 0.5}

POOLING = [
    *[
        Case(
            f"MaxPool2d {options}",
            lambda channels, options=options: nn.MaxPool2d(**renamed(options)),
            images,
            applied(lambda x, options=options: max_pool(x, **options)),
        )
        for options in [
            {"kernel": 2},
            {"kernel": 3, "stride": 2, "padding": 1},
            {"kernel": (3, 2), "stride": (2, 1), "dilation": (1, 2), "ceil_mode": True},
        ]
    ],
    *[
        Case(
            f"AvgPool2d {options}",
            lambda channels, options=options: nn.AvgPool2d(**renamed(options)),
            images,
            applied(lambda x, options=options: average_pool(x, **options)),
            tolerance=8,
        )
        for options in [
            {"kernel": 2},
            {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True},
            {"kernel": (3, 2), "stride": 1, "padding": 1, "count_include_pad": False},
            {"kernel": 2, "stride": 3, "divisor_override": 3},
        ]
    ],
    *[
        Case(
            f"AdaptiveAvgPool2d {size}",
            lambda channels, size=size: nn.AdaptiveAvgPool2d(size),
            images,
            applied(lambda x, size=size: adaptive_average(x, size)),
            tolerance=8,
        )
        for size in (1, (4, 2))
    ],
]


def renamed(options):
    return {"kernel_size" if key == "kernel" else key: value for key, value in options.items()}


OTHERS = [
    Case(
        "ZeroPad2d",
        lambda channels: nn.ZeroPad2d((1, 2, 0, 3)),
        images,
        applied(lambda x: zero_padded(x, 1, 2, 0, 3)),
    ),
    Case(
        "Upsample",
        lambda channels: nn.Upsample(scale_factor=(2, 3)),
        images,
        applied(lambda x: x.repeat(2, 2).repeat(3, 3)),
    ),
    Case(
        "LocalResponseNorm",
        lambda channels: nn.LocalResponseNorm(**RESPONSE),
        images,
        applied(lambda x: local_response(x, **RESPONSE)),
        tolerance=32,
    ),
    *[
        Case(
            f"BatchNorm2d, {name}",
            lambda channels, options=options: nn.BatchNorm2d(channels, **options),
            images,
            normalized_by_batch,
            tolerance=64,
            rowwise=False,
        )
        for name, options in {
            "training": {},
            "training, without affine": {"affine": False},
            "training, without running stats": {"track_running_stats": False},
        }.items()
    ],
    Case(
        "BatchNorm2d + ReLU, training",
        lambda channels: nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()),
        images,
        lambda state, x: relu(normalized_by_batch(state, x, "0.")),
        tolerance=128,
        rowwise=False,
    ),
    Case(
        "BatchNorm2d, inference",
        lambda channels: nn.BatchNorm2d(channels).eval(),
        images,
        normalized_by_running,
        tolerance=16,
    ),
    Case(
        "PReLU of channels, images",
        nn.PReLU,
        images,
        lambda state, x: leaky(x, of_channels(state["weight"])),
    ),
    Case(
        "maxout of channels",
        lambda channels: Function(lambda x: functional.maxout(x, 2)),
        images_of(2),
        applied(lambda x: np.moveaxis(largest_piece(np.moveaxis(x, 1, -1), 2), -1, 1)),
    ),
    Case(
        "concatenate, images",
        lambda channels: Function(lambda a, b: functional.concatenate([a, b, a])),
        two_images,
        applied(lambda a, b: np.concatenate([a, b, a], 1)),
    ),
    Case(
        "pooled beside not pooled",
        lambda channels: Function(lambda x: x * functional.max_pool2d(x, 3, 1, 1) + x),
        images,
        applied(lambda x: x * max_pool(x, kernel=3, stride=1, padding=1) + x),
    ),
    Case(
        "MaxPool2d + Flatten + Linear",
        lambda channels: nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * channels, 4)),
        images,
        lambda state, x: linear(state, max_pool(x, kernel=2).reshape(len(x), -1), "2."),
        tolerance=32,
    ),
]

IMAGES = [*POOLING, *OTHERS]
