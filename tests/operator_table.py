"""The operators, a row for each: how it is built, what it takes, and what it should give."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from operator_case import Case
from operator_references import (
    binary_cross_entropy,
    class_weights,
    cross_entropy,
    elu,
    largest_piece,
    leaky,
    linear,
    log_softmax,
    multi_margin,
    normalized_by_batch,
    normalized_by_running,
    relu,
    softmax,
    squared_error,
)
from scipy import special

from fastnn import nn
from fastnn.nn import functional


class Function(nn.Module):
    """A function of traced values as a module."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *values: Any) -> Any:
        return self.function(*values)


class OwnLinear(nn.Module):
    """x W^T with a weight that lies in memory in the order of its shape."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(np.zeros((width + 1, width)))

    def forward(self, x: Any) -> Any:
        return functional.linear(x, self.weight)


class Residual(nn.Module):
    """x + f(x)"""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Any) -> Any:
        return x + self.body(x)


# What operators take


def matrix(rng, batch, width):
    return (rng.normal(scale=2, size=(batch, width)),)


def two_matrices(rng, batch, width):
    return *matrix(rng, batch, width), *matrix(rng, batch, width)


def unequal_matrices(rng, batch, width):
    return *matrix(rng, batch, width), *matrix(rng, batch, 3), *matrix(rng, batch, width + 1)


def pieces_of(pieces):
    return lambda rng, batch, width: matrix(rng, batch, pieces * width)


def matrices_of(rows):
    return lambda rng, batch, width: (rng.normal(scale=2, size=(batch, rows, width)),)


def logits_and_labels(rng, batch, width):
    return *matrix(rng, batch, width), rng.integers(0, width, batch)


def logits_and_some_labels(rng, batch, width):
    x, labels = logits_and_labels(rng, batch, width)
    labels[1::3] = -1
    return x, labels


def logits_and_shares(rng, batch, width):
    return *matrix(rng, batch, width), rng.uniform(size=(batch, width))


# The rows


def out_features(width):
    """Odd shapes: 1 -> 5, 10 -> 10, 17 -> 13, 48 -> 29, 300 -> 155."""
    return 5 + width // 2


def linear_layer(width, **options):
    return nn.Linear(width, out_features(width), **options)


def followed_by(layer):
    return lambda width: nn.Sequential(linear_layer(width), layer())


def between_layers(layer):
    return lambda width: nn.Sequential(
        linear_layer(width), layer(), nn.Linear(out_features(width), 3)
    )


def after_normalization(layer, train):
    def build(width):
        return nn.Sequential(nn.BatchNorm1d(width), layer()).train(train)

    return build


def residual(state, x, layer, activation=lambda x: x):
    return activation(x + linear(state, x, f"{layer}body."))


def applied(function):
    """The reference of an operator without parameters."""
    return lambda state, *inputs: function(*inputs)


# What a Linear or a BatchNorm applies to its own output: how it is built, what it computes.
FUSED = {
    "Sigmoid": (nn.Sigmoid, special.expit),
    "Tanh": (nn.Tanh, np.tanh),
    "ReLU": (nn.ReLU, relu),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.1), lambda x: leaky(x, 0.1)),
    "ELU": (lambda: nn.ELU(0.7), lambda x: elu(x, 0.7)),
}

ACTIVATIONS = [
    *[
        Case(name, lambda width, layer=layer: layer(), matrix, applied(f))
        for name, (layer, f) in FUSED.items()
    ],
    Case(
        "LeakyReLU, slope below 0",
        lambda width: nn.LeakyReLU(-0.3),
        matrix,
        applied(lambda x: leaky(x, -0.3)),
    ),
    Case(
        "LeakyReLU, slope 0",
        lambda width: nn.LeakyReLU(0.0),
        matrix,
        # Not relu: 0 times -inf is NaN.
        applied(lambda x: leaky(x, 0.0)),
    ),
    Case(
        "PReLU",
        lambda width: nn.PReLU(),
        matrix,
        lambda state, x: leaky(x, state["weight"]),
    ),
    Case(
        "PReLU of channels",
        nn.PReLU,
        matrix,
        lambda state, x: leaky(x, state["weight"]),
    ),
    Case("ELU, alpha below 0", lambda width: nn.ELU(-0.5), matrix, applied(lambda x: elu(x, -0.5))),
    Case(
        "ELU, learned alpha",
        lambda width: nn.ELU(0.7, learnable=True),
        matrix,
        lambda state, x: elu(x, state["alpha"]),
    ),
    *[
        Case(
            f"maxout of {pieces} pieces",
            lambda width, pieces=pieces: Function(lambda x: functional.maxout(x, pieces)),
            pieces_of(pieces),
            applied(lambda x, pieces=pieces: largest_piece(x, pieces)),
        )
        for pieces in (2, 3)
    ],
    Case("Softmax", lambda width: nn.Softmax(), matrix, applied(softmax), tolerance=8),
    Case("LogSoftmax", lambda width: nn.LogSoftmax(), matrix, applied(log_softmax), tolerance=8),
    Case("Softmax, 3 axes", lambda width: nn.Softmax(), matrices_of(3), applied(softmax), 8),
]

LINEAR = [
    Case("Linear", linear_layer, matrix, linear, tolerance=16),
    Case("Linear without bias", lambda width: linear_layer(width, bias=False), matrix, linear, 16),
    Case("Linear, weight in the order of its shape", OwnLinear, matrix, linear, tolerance=16),
    Case("Linear, 3 axes", linear_layer, matrices_of(3), linear, tolerance=16),
    *[
        Case(
            f"Linear + {name}",
            followed_by(layer),
            matrix,
            lambda state, x, f=f: f(linear(state, x, "0.")),
            tolerance=32,
        )
        for name, (layer, f) in FUSED.items()
    ],
    *[
        Case(
            f"Linear + {name} + Linear",
            between_layers(layer),
            matrix,
            lambda state, x, f=f: linear(state, f(linear(state, x, "0.")), "2."),
            tolerance=64,
        )
        for name, (layer, f) in FUSED.items()
    ],
    Case(
        "Linear + PReLU",
        followed_by(nn.PReLU),
        matrix,
        lambda state, x: leaky(linear(state, x, "0."), state["1.weight"]),
        tolerance=32,
    ),
    *[
        Case(
            f"Maxout, {pieces} pieces",
            lambda width, pieces=pieces: nn.Maxout(width, out_features(width), pieces),
            matrix,
            lambda state, x, pieces=pieces: largest_piece(linear(state, x), pieces),
            tolerance=32,
        )
        for pieces in (2, 3)
    ],
]

NORMALIZATION = [
    *[
        Case(
            f"BatchNorm1d, {name}",
            lambda width, options=options: nn.BatchNorm1d(width, **options),
            matrix,
            normalized_by_batch,
            tolerance=64,
            rowwise=False,
            least_batch=2,
        )
        for name, options in {
            "training": {},
            "training, momentum None": {"momentum": None},
            "training, without affine": {"affine": False},
            "training, without running stats": {"track_running_stats": False},
        }.items()
    ],
    Case(
        "BatchNorm1d, inference",
        lambda width: nn.BatchNorm1d(width).eval(),
        matrix,
        normalized_by_running,
        tolerance=16,
    ),
    Case(
        "BatchNorm1d, inference, without affine",
        lambda width: nn.BatchNorm1d(width, affine=False).eval(),
        matrix,
        normalized_by_running,
        tolerance=16,
    ),
    Case(
        "BatchNorm1d, inference, without running stats",
        lambda width: nn.BatchNorm1d(width, track_running_stats=False).eval(),
        matrix,
        normalized_by_batch,
        tolerance=64,
        rowwise=False,
        least_batch=2,
    ),
    *[
        Case(
            f"BatchNorm1d + {name}, {'training' if train else 'inference'}",
            after_normalization(layer, train),
            matrix,
            lambda state, x, f=f, g=(normalized_by_batch if train else normalized_by_running): f(
                g(state, x, "0.")
            ),
            tolerance=128,
            rowwise=not train,
            least_batch=2 if train else 1,
        )
        for (name, (layer, f)), train in itertools.product(FUSED.items(), (True, False))
    ],
]

STRUCTURE = [
    Case("add", lambda width: Function(lambda a, b: a + b), two_matrices, applied(np.add)),
    Case(
        "subtract", lambda width: Function(lambda a, b: a - b), two_matrices, applied(np.subtract)
    ),
    Case(
        "residual",
        lambda width: Residual(nn.Sequential(nn.Linear(width, width), nn.ReLU())),
        matrix,
        lambda state, x: x + relu(linear(state, x, "body.0.")),
        tolerance=32,
    ),
    Case(
        "multiply", lambda width: Function(lambda a, b: a * b), two_matrices, applied(np.multiply)
    ),
    *[
        Case(
            f"two residual sums and {name}",
            lambda width, layer=layer: nn.Sequential(
                Residual(nn.Linear(width, width)),
                layer(),
                Residual(nn.Linear(width, width)),
                layer(),
            ),
            matrix,
            lambda state, x, f=f: residual(state, f(residual(state, x, "0.")), "2.", f),
            tolerance=64,
        )
        for name, (layer, f) in FUSED.items()
    ],
    Case(
        "slice",
        lambda width: Function(
            lambda a: a.graph.record(
                "slice", [a], offset=width // 3, width=width - width // 3 - width // 4
            )[0]
        ),
        matrix,
        applied(lambda a: a[:, a.shape[1] // 3 : a.shape[1] - a.shape[1] // 4]),
    ),
    Case("square", lambda width: Function(lambda a: a * a), matrix, applied(np.square)),
    *[
        Case(name, lambda width, f=f: Function(f), matrix, applied(f))
        for name, f in [
            ("times a number", lambda a: -2.5 * a),
            ("divided by a number", lambda a: a / 3),
            ("plus a number", lambda a: a + 0.7),
            ("a number minus", lambda a: np.float64(0.3) - a),
            ("minus a number, times a number", lambda a: (a - 2) * 0.25),
        ]
    ],
    Case(
        "concatenate",
        lambda width: Function(lambda *values: functional.concatenate(values)),
        unequal_matrices,
        applied(lambda *values: np.concatenate(values, 1)),
    ),
    Case(
        "concatenate, twice the same",
        lambda width: Function(lambda a: functional.concatenate([a, a])),
        matrix,
        applied(lambda a: np.concatenate([a, a], 1)),
    ),
    Case(
        "Flatten",
        lambda width: nn.Flatten(),
        matrices_of(3),
        applied(lambda a: a.reshape(len(a), -1)),
    ),
    Case(
        "Flatten + Linear",
        lambda width: nn.Sequential(nn.Flatten(), nn.Linear(3 * width, 4)),
        matrices_of(3),
        lambda state, x: linear(state, x.reshape(len(x), -1), "1."),
        tolerance=32,
    ),
]


def loss_case(name, layer, inputs, function, weights=(), **options):
    """`weights`: which options are vectors of class weights."""

    def all_options(width):
        return options | {key: class_weights(width) for key in weights}

    def reference(state, x, target):
        renamed = all_options(x.shape[1])
        if "label_smoothing" in renamed:
            renamed["smoothing"] = renamed.pop("label_smoothing")
        return np.asarray(function(x, target, **renamed))

    return Case(
        name,
        lambda width: layer(**all_options(width)),
        inputs,
        reference,
        tolerance=16,
        rowwise=options.get("reduction") == "none",
        least_size=1,
    )


LOSSES = [
    *[
        loss_case(f"{layer.__name__}, {reduction}", layer, inputs, f, reduction=reduction)
        for (layer, inputs, f), reduction in itertools.product(
            [
                (nn.CrossEntropyLoss, logits_and_labels, cross_entropy),
                (nn.MSELoss, two_matrices, squared_error),
                (nn.BCEWithLogitsLoss, logits_and_shares, binary_cross_entropy),
                (nn.MultiMarginLoss, logits_and_labels, multi_margin),
            ],
            ("mean", "sum", "none"),
        )
    ],
    *[
        loss_case(
            f"CrossEntropyLoss, {name}", nn.CrossEntropyLoss, inputs, cross_entropy, w, **options
        )
        for name, inputs, w, options in [
            ("weight", logits_and_labels, ["weight"], {}),
            ("weight, none", logits_and_labels, ["weight"], {"reduction": "none"}),
            ("label_smoothing", logits_and_labels, [], {"label_smoothing": 0.1}),
            ("ignore_index", logits_and_some_labels, [], {"ignore_index": -1}),
            (
                "all options",
                logits_and_some_labels,
                ["weight"],
                {"ignore_index": -1, "label_smoothing": 0.2},
            ),
        ]
    ],
    *[
        loss_case(
            f"BCEWithLogitsLoss, {name}",
            nn.BCEWithLogitsLoss,
            logits_and_shares,
            binary_cross_entropy,
            weights,
            **options,
        )
        for name, weights, options in [
            ("weight", ["weight"], {}),
            ("pos_weight", ["pos_weight"], {}),
            ("both weights, none", ["weight", "pos_weight"], {"reduction": "none"}),
        ]
    ],
    *[
        loss_case(
            f"MultiMarginLoss, {name}",
            nn.MultiMarginLoss,
            logits_and_labels,
            multi_margin,
            weights,
            **options,
        )
        for name, weights, options in [
            ("p 2", [], {"p": 2}),
            ("p 2, none", [], {"p": 2, "reduction": "none"}),
            ("margin", [], {"margin": 0.3}),
            ("weight", ["weight"], {}),
            ("all options", ["weight"], {"p": 2, "margin": 2.5, "reduction": "sum"}),
        ]
    ],
]

TABLE = [*ACTIVATIONS, *LINEAR, *NORMALIZATION, *STRUCTURE, *LOSSES]
