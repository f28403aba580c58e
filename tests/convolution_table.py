"""Convolutions, in rows like those of operator_table.py: every algorithm, by its module.

The width of a row is the number of channels. test_convolution.py compares with SciPy's correlation.
"""

from __future__ import annotations

import functools

import numpy as np
from image_operator_table import images, images_of
from operator_case import Case as AnyCase
from operator_references import relu

from fastnn import nn


def convolved(x, weight, bias, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """y (batch, filters, height, width), tap by tap."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    x = x.reshape(len(x), groups, -1, *x.shape[2:])
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    sizes = zip(x.shape[3:], weight.shape[3:], stride, dilation, strict=True)
    height, width = ((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in sizes)
    y = np.zeros((len(x), *weight.shape[:2], height, width))
    for r, s in np.ndindex(*weight.shape[3:]):
        row, column = r * dilation[0], s * dilation[1]
        seen = x[..., row :: stride[0], column :: stride[1]][..., :height, :width]
        y += np.einsum("ngchw,gkc->ngkhw", seen, weight[..., r, s])
    return y.reshape(len(x), -1, height, width) + np.reshape(bias, (-1, 1, 1))


def reference(layer="", **options):
    """The reference of one convolution by its weights in the state."""

    def of_state(state, x):
        weight = state[f"{layer}weight"]
        bias = state.get(f"{layer}bias", np.zeros(len(weight)))
        return convolved(x, weight, bias, **options)

    return of_state


def around(number):
    return ((number, number),) * 2


def two_layers(state, x):
    hidden = np.tanh(reference("0.", padding=around(1))(state, x))
    return relu(reference("2.", padding=around(1))(state, hidden))


# Units of rounding of the largest output: sums of up to 2,700 products, and Winograd's transforms,
# which multiply by up to 100 and mix the pixels of a tile: one that is no number spoils its tile.
EXACT = {"tolerance": 64}
WINOGRAD = {"tolerance": 400, "exact_tolerance": 400, "mixes": True}
TWICE = {"tolerance": 800, "exact_tolerance": 800, "mixes": True}
# The reference is slow.
Case = functools.partial(AnyCase, most=(9, 48))

CONVOLUTIONS = [
    *[
        Case(
            f"Conv2d 3 x 3, {algorithm}",
            lambda channels, algorithm=algorithm: nn.Conv2d(
                channels, channels + 2, 3, padding=1, algorithm=algorithm
            ),
            images,
            reference(padding=around(1)),
            **(EXACT if algorithm in ("direct", "im2col") else WINOGRAD),
        )
        for algorithm in ("auto", "winograd", "direct", "im2col")
    ],
    Case(
        "Conv2d 5 x 5, same",
        lambda channels: nn.Conv2d(channels, channels, 5, padding="same"),
        images,
        reference(padding=around(2)),
        **WINOGRAD,
    ),
    Case(
        "Conv2d 1 x 1 without bias",
        lambda channels: nn.Conv2d(channels, 2 * channels + 1, 1, bias=False),
        images,
        reference(),
        **EXACT,
    ),
    *[
        Case(
            f"Conv2d with stride and dilation, {algorithm}",
            lambda channels, algorithm=algorithm: nn.Conv2d(
                channels,
                channels + 1,
                (3, 2),
                stride=(2, 1),
                padding=(1, 0),
                dilation=(1, 2),
                algorithm=algorithm,
            ),
            images,
            reference(stride=(2, 1), padding=((1, 1), (0, 0)), dilation=(1, 2)),
            **EXACT,
        )
        for algorithm in ("auto", "im2col")
    ],
    *[
        Case(
            f"Conv2d with groups, {algorithm}",
            lambda channels, algorithm=algorithm: nn.Conv2d(
                2 * channels, 4 * channels, 3, padding=1, groups=2, algorithm=algorithm
            ),
            images_of(2),
            reference(padding=around(1), groups=2),
            **EXACT,
        )
        for algorithm in ("auto", "im2col")
    ],
    Case(
        "Conv2d depthwise",
        lambda channels: nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        images,
        lambda state, x: reference(padding=around(1), groups=x.shape[1])(state, x),
        **EXACT,
    ),
    Case(
        "Conv2d 11 x 11 with stride 4",
        lambda channels: nn.Conv2d(channels, 5, 11, stride=4, padding=5),
        images,
        reference(stride=(4, 4), padding=around(5)),
        **WINOGRAD,
    ),
    Case(
        "Conv2d + Tanh + Conv2d + ReLU",
        lambda channels: nn.Sequential(
            nn.Conv2d(channels, 17, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(17, 16, 3, padding=1),
            nn.ReLU(),
        ),
        images,
        two_layers,
        **TWICE,
    ),
]
