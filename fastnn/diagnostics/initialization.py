"""The course's experiment: what initial weights do to a deep network, beside what theory predicts.

For weights of variance v, n inputs to a unit and an activation f, layer by layer::

    s^2 = n v E[y^2]                     the sums are normal with this variance
    std(y') = std of f(s z), z normal    forward
    var(g) = m v E[f'(s z)^2] var(g')    backward, m units that an input feeds

The expectations over z are sums over a fine grid: where tanh saturates it is a step, which a
Gauss-Hermite quadrature would miss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import nn
from fastnn._checks import whole
from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import PLAIN, draw_histograms
from fastnn.diagnostics.sandbox import own_randomness
from fastnn.differentiation import vjp

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Standard deviation of a weight by the number of inputs of its unit.
SCHEMES = {
    "zeros": lambda fan_in: 0.0,
    "0.01 normal": lambda fan_in: 0.01,
    "1.0 normal": lambda fan_in: 1.0,
    "Xavier": lambda fan_in: math.sqrt(1 / fan_in),
    "He": lambda fan_in: math.sqrt(2 / fan_in),
}
ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "tanh": (nn.Tanh, np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (nn.ReLU, lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(np.float64)),
}
# The grid of z: a thousandth of a standard deviation is fine for sums of a deviation of 22.
GRID = np.linspace(-8, 8, 16001)
DENSITY = np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum()
# Spread between seeds of a standard deviation: at each layer about 1 / sqrt(width) of random walk.
TOLERANCE = 6.0
# Below this everything is zero.
ZERO = 1e-12


def initialization_study(
    depth: int = 10,
    width: int = 500,
    activation: str = "tanh",
    schemes: Sequence[str] = tuple(SCHEMES),
    examples: int = 1000,
    seed: int = 0,
) -> Check:
    """Sends normal inputs through a deep network, forward and backward, for each initialization.

    Parameters
    ----------
    depth : int, default=10
        Layers; they have no biases.
    width : int, default=500
        Units of each.
    activation : {'tanh', 'relu'}, default='tanh'
    schemes : sequence of str
        By default all: "zeros", "0.01 normal", "1.0 normal", "Xavier" (variance 1 / inputs), "He"
        (variance 2 / inputs).
    examples : int, default=1000
    seed : int, default=0

    Returns
    -------
    Check
        ``data[scheme]`` holds for each layer "std", "mean" and "histogram" of the activations and
        their "theory", "gradient" (standard deviation of the gradient by the layer's sums) and
        "gradient_theory", and "alike": the largest difference between the weight gradients of two
        units in any hidden layer, over their size (0 if all units of a layer are equal, and so
        stay). It passes if measurement and theory agree within what the width allows.

    Raises
    ------
    ValueError
        If the activation or a scheme is unknown, or a number out of range.

    References
    ----------
    CS231n, Stanford 2016, lecture 5, "Weight initialization"; Glorot and Bengio, 2010; He, Zhang,
    Ren and Sun, Delving deep into rectifiers, 2015.

    Examples
    --------
    >>> from fastnn import diagnostics
    >>> study = diagnostics.initialization_study(depth=3, schemes=["0.01 normal", "Xavier"])
    >>> [round(std, 2) for std in study.data["0.01 normal"]["std"]]
    [0.21, 0.05, 0.01]
    >>> [round(std, 2) for std in study.data["Xavier"]["theory"]]
    [0.63, 0.49, 0.41]
    """
    depth, width = whole("depth", depth, 1), whole("width", width, 2)
    examples = whole("examples", examples, 2)
    if activation not in ACTIVATIONS:
        raise ValueError(f"got activation {activation!r}, expected one of {list(ACTIVATIONS)}")
    for scheme in schemes:
        if scheme not in SCHEMES:
            raise ValueError(f"got scheme {scheme!r}, expected some of {list(SCHEMES)}")
    data: dict[str, dict[str, Any]] = {}
    for scheme in schemes:
        deviation = SCHEMES[scheme](width)
        with own_randomness(seed):
            data[scheme] = measure(depth, width, activation, deviation, examples, seed)
        theory = predict(depth, width, activation, deviation)
        data[scheme]["theory"], data[scheme]["gradient_theory"] = theory
    findings = Findings()
    for scheme, found in data.items():
        compare(findings, scheme, found, width)
    rows = [
        (scheme, i + 1, *(found[key][i] for key in KEYS))
        for scheme, found in data.items()
        for i in range(depth)
    ]
    return judge(
        f"initialization of {depth} x {width} {activation}",
        findings,
        "; ".join(
            f"{scheme}: {found['std'][0]:.3f} to {found['std'][-1]:.3g}"
            for scheme, found in data.items()
        ),
        "; ".join(
            f"{scheme}: {found['theory'][0]:.3f} to {found['theory'][-1]:.3g}"
            for scheme, found in data.items()
        ),
        data,
        (("scheme", "layer", "std", "theory", "gradient", "gradient theory"), rows),
        draw_study,
        (1.05 * depth, 0.1 + 1.7 * len(data)),
    )


KEYS = ("std", "theory", "gradient", "gradient_theory")


def measure(
    depth: int, width: int, activation: str, deviation: float, examples: int, seed: int
) -> dict[str, Any]:
    """Forward and backward through the compiled layers."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((examples, width), dtype=np.float32)
    layers, pullbacks, outputs = [], [], []
    for _ in range(depth):
        layer, function = nn.Linear(width, width, bias=False), ACTIVATIONS[activation][0]()
        nn.init.normal_(layer.weight, std=deviation)
        sums, through_layer = vjp(layer, values)
        values, through_function = vjp(function, sums)
        layers.append(layer)
        pullbacks.append((through_layer, through_function))
        outputs.append(values)
    gradient = rng.standard_normal((examples, width), dtype=np.float32)
    gradients: list[float] = []
    alike = 0.0
    for i in range(depth - 1, -1, -1):
        through_layer, through_function = pullbacks[i]
        gradient = through_function(gradient)
        gradients.insert(0, float(gradient.std(dtype=np.float64)))
        gradient = through_layer(gradient)
        if i < depth - 1:
            weight_gradient = layers[i].weight.grad
            assert weight_gradient is not None  # the pullback has filled it
            alike = max(alike, differences_of_units(weight_gradient))
    return {
        "std": [float(y.std(dtype=np.float64)) for y in outputs],
        "mean": [float(y.mean(dtype=np.float64)) for y in outputs],
        # Those of tanh on one scale, so that a collapse is seen; those of ReLU may be of any size.
        "histogram": [
            np.histogram(y, bins=30, range=(-1, 1) if activation == "tanh" else None)
            for y in outputs
        ],
        "gradient": gradients,
        "alike": alike,
    }


def differences_of_units(gradient: NDArray) -> float:
    """The largest difference between the gradients of two units, over the largest gradient."""
    largest = float(np.abs(gradient).max())
    return float(np.ptp(gradient, axis=0).max()) / largest if largest else 0.0


def predict(
    depth: int, width: int, activation: str, deviation: float
) -> tuple[list[float], list[float]]:
    """Standard deviations of activations and gradients, layer by layer."""
    _, function, derivative = ACTIVATIONS[activation]
    gain = width * deviation**2
    second_moment, forward, slopes = 1.0, [], []
    for _ in range(depth):
        z = math.sqrt(gain * second_moment) * GRID
        y = function(z)
        second_moment = float(DENSITY @ y**2)
        forward.append(math.sqrt(max(second_moment - float(DENSITY @ y) ** 2, 0.0)))
        slopes.append(float(DENSITY @ derivative(z) ** 2))
    backward: list[float] = []
    variance = 1.0
    for slope in reversed(slopes):
        variance *= slope
        backward.insert(0, math.sqrt(variance))
        variance *= gain
    return forward, backward


def compare(findings: Findings, scheme: str, found: dict[str, Any], width: int) -> None:
    """Whether measurement and theory agree; the spread grows with the root of the depth."""
    depth = len(found["std"])
    for measured, expected in (("std", "theory"), ("gradient", "gradient_theory")):
        for i in range(depth):
            passed = i + 1 if measured == "std" else depth - i
            allowed = TOLERANCE * math.sqrt(passed / width) + 0.02
            a, b = found[measured][i], found[expected][i]
            if max(a, b) > ZERO and abs(math.log(max(a, ZERO) / max(b, ZERO))) > allowed:
                findings.fault(
                    f"{scheme}, layer {i + 1}: {measured} {a:.3g}, theory {b:.3g}",
                    "a narrow network strays from theory: try a larger width",
                )
                break
    if found["alike"] == 0 and depth > 1:
        findings.note(
            f"{scheme}: in hidden layers all units get equal gradients, and so equal updates: "
            "they stay alike"
        )


def draw_study(check: Check, ax: Any) -> None:
    """The course's picture: a row of histograms for each scheme."""
    ax.set_axis_off()
    count = len(check.data)
    for i, (scheme, found) in enumerate(check.data.items()):
        row = ax.inset_axes([0, 1 - (i + 1) / count, 1, 0.96 / count])
        depth = len(found["std"])
        draw_histograms(
            row,
            [f"{found['std'][j]:.3g}\n({found['theory'][j]:.3g})" for j in range(depth)],
            found["histogram"],
            [PLAIN] * depth,
            columns=depth,
            ticks=(-1, 0, 1) if found["histogram"][0][1][0] == -1 else None,
        )
        row.text(
            *(0, 0.98, f"{scheme}: standard deviation by layer (theory)"),
            fontsize=9,
            va="top",
            transform=row.transAxes,
        )
