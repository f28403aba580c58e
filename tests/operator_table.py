"""The operators, a row for each: how it is built, what it takes, and what it should give.

References are NumPy and SciPy in float64. `check_table` compares every row with its reference; the
tests call it for each instruction set, in a process of its own.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

import fastnn
from fastnn import nn
from fastnn.nn import functional

Arrays = tuple[np.ndarray, ...]
State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """An operator, and what is known about it.

    Attributes
    ----------
    build : width -> module
    inputs : (rng, batch, width) -> arrays of float64, labels of int64
    reference : (state_dict in float64, *inputs) -> output in float64
    tolerance : of values and gradients in float32, in units of its roundoff times the largest
        element of the array; for sums that grow with the width, at a width of 300
    rowwise : whether a row of the output depends on the same row of the input alone
    least_batch : the smallest batch that is allowed
    least_size : what the largest element is taken for if it is smaller: a loss near zero is a
        difference of larger numbers
    most : the largest batch and width to try
    """

    name: str
    build: Callable[[int], nn.Module]
    inputs: Callable[[np.random.Generator, int, int], Arrays]
    reference: Callable[..., np.ndarray]
    tolerance: float = 4
    rowwise: bool = True
    least_batch: int = 1
    least_size: float = 0
    most: tuple[int, int] = (257, 300)

    def __str__(self) -> str:
        return self.name


class Function(nn.Module):
    """A function of traced values as a module."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *values: Any) -> Any:
        return self.function(*values)


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


# What they should give


def linear(state, x, layer=""):
    return x @ state[f"{layer}weight"].T + state.get(f"{layer}bias", 0)


def relu(x):
    return np.maximum(x, 0)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def largest_piece(x, pieces):
    return x.reshape(*x.shape[:-1], pieces, -1).max(-2)


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax(x):
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def normalized(state, x, mean, var, layer=""):
    weight, bias = state.get(f"{layer}weight", 1), state.get(f"{layer}bias", 0)
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def normalized_by_batch(state, x, layer=""):
    axes = tuple(range(x.ndim - 1))
    return normalized(state, x, x.mean(axes), x.var(axes), layer)


def normalized_by_running(state, x, layer=""):
    mean, var = state[f"{layer}running_mean"], state[f"{layer}running_var"]
    return normalized(state, x, mean, var, layer)


def reduced(losses, reduction, count=None):
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / (losses.size if count is None else count)


def class_weights(width):
    return np.linspace(0.5, 1.5, width)


def cross_entropy(x, labels, weight=None, ignore_index=-100, reduction="mean", smoothing=0.0):
    classes = x.shape[1]
    weight = np.ones(classes) if weight is None else weight
    counts = labels != ignore_index
    label = np.where(counts, labels, 0)
    log_p = log_softmax(x)
    losses = -(1 - smoothing) * weight[label] * log_p[np.arange(len(x)), label]
    if smoothing:
        losses = losses - smoothing / classes * (log_p * weight).sum(1)
    return reduced(np.where(counts, losses, 0), reduction, weight[label][counts].sum())


def squared_error(x, target, reduction="mean"):
    return reduced((x - target) ** 2, reduction)


def binary_cross_entropy(x, target, weight=1.0, pos_weight=1.0, reduction="mean"):
    of_positive = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)
    losses = (1 - target) * x + (1 + (pos_weight - 1) * target) * of_positive
    return reduced(losses * weight, reduction)


def multi_margin(x, labels, p=1, margin=1.0, weight=None, reduction="mean"):
    rows, classes = np.arange(len(x)), x.shape[1]
    violation = np.maximum(margin - x[rows, labels][:, None] + x, 0) ** p
    violation[rows, labels] = 0
    losses = violation.sum(1) / classes
    return reduced(losses if weight is None else losses * weight[labels], reduction)


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
    Case("square", lambda width: Function(lambda a: a * a), matrix, applied(np.square)),
    Case("scale", lambda width: Function(lambda a: -2.5 * a), matrix, applied(lambda a: -2.5 * a)),
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


# A row at work


@dataclass(frozen=True)
class Instance:
    """A module with parameters, inputs for it, and the reference's answer."""

    case: Case
    module: nn.Module
    inputs: Arrays
    expected: np.ndarray


def random_generator(case: Case, *numbers: int) -> np.random.Generator:
    """The same numbers in every run, others for every case and shape."""
    return np.random.default_rng([zlib.crc32(case.name.encode()), *numbers])


def make(case: Case, batch: int, width: int, dtype: Any = np.float64) -> Instance:
    """A case at a size and in a precision; the reference sees the same rounded numbers."""
    rng = random_generator(case, batch, width)
    module = case.build(width).astype(dtype)
    inputs = tuple(
        array if array.dtype.kind == "i" else array.astype(dtype)
        for array in case.inputs(rng, batch, width)
    )
    for name, parameter in module.named_parameters():
        # A weight's products add up to a variance of about 1, whatever the width.
        scale = parameter.shape[-1] ** -0.5 if name.endswith("weight") else 1.0
        scale = 1.0 if len(parameter.shape) == 1 else scale
        parameter.data = rng.normal(scale=scale, size=parameter.shape)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer[...] = rng.normal(size=buffer.shape)
        elif name.endswith("running_var"):
            buffer[...] = rng.uniform(0.5, 2, buffer.shape)
    return Instance(case, module, inputs, reference(case, state_of(module), inputs))


def state_of(module: nn.Module) -> State:
    """The module's state_dict in float64."""
    return {name: array.astype(np.float64) for name, array in module.state_dict().items()}


def reference(case: Case, state: State, inputs: Arrays) -> np.ndarray:
    """The reference's answer; infinities and NaN are none of NumPy's business."""
    exact = [a.astype(np.int64 if a.dtype.kind == "i" else np.float64) for a in inputs]
    with np.errstate(all="ignore"):
        return np.asarray(case.reference(state, *exact))


def gradients(
    instance: Instance, upstream: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A gradient of the output, by default a random one, and all that it gives pulled back."""
    output, pullback = fastnn.vjp(instance.module, *instance.inputs)
    if upstream is None:
        rng = random_generator(instance.case)
        upstream = rng.normal(size=np.shape(output)).astype(output.dtype)
    found = pullback(upstream)
    found = found if isinstance(found, tuple) else (found,)
    named = {f"input {i}": array for i, array in enumerate(found) if array is not None}
    for name, parameter in instance.module.named_parameters():
        named[name] = np.array(parameter.grad)
    return upstream, named


def slope_of_reference(instance: Instance, upstream: Any, directions: State) -> float:
    """How fast sum(reference * upstream) grows along a direction, by central differences."""
    state, step = state_of(instance.module), 1e-6

    def value(by: float) -> float:
        moved = {key: v + by * directions.get(key, 0) for key, v in state.items()}
        inputs = tuple(
            array + by * directions[f"input {i}"] if f"input {i}" in directions else array
            for i, array in enumerate(instance.inputs)
        )
        return float(np.sum(reference(instance.case, moved, inputs) * upstream))

    return (value(step) - value(-step)) / (2 * step)


def largest(array: np.ndarray) -> float:
    return float(np.abs(array).max())


def check_values(instance: Instance, dtype: Any) -> None:
    """The module's output against the reference."""
    output = instance.module(*instance.inputs)
    assert output.dtype == dtype, f"{instance.case}: {output.dtype}"
    units = instance.case.tolerance if dtype == np.float32 else 64
    size = max(largest(instance.expected), instance.case.least_size)
    allowed = units * np.finfo(dtype).eps * size
    np.testing.assert_allclose(
        output, instance.expected, rtol=0, atol=allowed, err_msg=str(instance.case)
    )


def check_gradients(case: Case, batch: int, width: int) -> None:
    """Gradients in float64 against the reference's slope; in float32 against those in float64."""
    single, exact = make(case, batch, width, np.float32), make(case, batch, width, np.float32)
    exact = Instance(
        case, exact.module.astype(np.float64), tuple(map(widened, exact.inputs)), exact.expected
    )
    upstream, rounded = gradients(single)
    upstream = upstream.astype(np.float64)
    _, wanted = gradients(exact, upstream)
    rng = random_generator(case, 1)
    directions = {name: rng.normal(size=array.shape) for name, array in wanted.items()}
    slope = sum(float(np.vdot(directions[name], array)) for name, array in wanted.items())
    size = sum(np.linalg.norm(array) for array in wanted.values()) + 1e-3
    by_reference = slope_of_reference(exact, upstream, directions)
    assert abs(slope - by_reference) < 1e-6 * size, f"{case}: slope {slope}, not {by_reference}"
    for name, array in wanted.items():
        # A factor as small as 1 - tanh(x)^2 has the roundoff of 1.
        size = max(largest(array), largest(upstream))
        allowed = 4 * case.tolerance * np.finfo(np.float32).eps * size
        np.testing.assert_allclose(
            rounded[name], array, rtol=0, atol=allowed, err_msg=f"{case}: {name}"
        )


def widened(array: np.ndarray) -> np.ndarray:
    """Real numbers in float64; labels as they are."""
    return array if array.dtype.kind == "i" else array.astype(np.float64)


def check_table(table: Sequence[Case]) -> int:
    """Values and gradients of every row, in both precisions; how many rows there are."""
    for case in table:
        for batch, width in ((33, 17), (5, 100), (6, 3)):
            for dtype in (np.float64, np.float32):
                check_values(make(case, batch, width, dtype), dtype)
            check_gradients(case, batch, width)
    return len(table)
