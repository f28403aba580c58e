"""Derivatives of a module: the vector-Jacobian product, and a check of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import above_zero, in_range, to_array, to_reals, whole
from fastnn._compiler import compile_gradient
from fastnn._compiler.trace import flatten_structure, rebuild_structure
from fastnn.nn.execution import (
    as_array,
    described,
    input_spec,
    layer_names,
    numbered,
    working_dtype,
)
from fastnn.nn.module import Module
from fastnn.nn.parameter import ensure_gradients
from fastnn.random import new_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How much nearer the points of a difference lie where the first was off: rounding then still leaves
# a hundredth of what is allowed.
CLOSER = 10


def vjp(module: Module, *inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The module's output, and a function that pulls a gradient back through it.

    Parameters
    ----------
    module : Module
    *inputs : array_like
        What the module is called with; the first axis is the batch.

    Returns
    -------
    output : ndarray, or a structure of them
    pullback : callable
        ``pullback(dy)`` with dy of the output's shape gives the gradient of ``sum(output * dy)``
        with respect to the input (a tuple for several inputs; None for labels, a loss's target
        and whatever else has no gradient) and puts those of the parameters into their ``grad``.
        It may be called again, with another dy. It raises a RuntimeError once a parameter is
        another than it was in the forward pass: the gradient would be that of neither point.

    Raises
    ------
    TypeError
        Without an input.
    ValueError
        If the module does not take inputs of these shapes.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> y, pullback = fastnn.vjp(fastnn.nn.Tanh(), np.array([[0.0, 1.0]]))
    >>> pullback(np.ones_like(y)).round(3)
    array([[1.  , 0.42]])
    """
    # Copies: the pullback may be called after the caller has changed the arrays.
    arrays = [np.array(as_array(leaf)) for leaf in flatten_structure(list(inputs))]
    if not arrays:
        raise TypeError(f"vjp of {type(module).__name__}: got no input, expected an array")
    ensure_gradients(p for p in module.parameters() if p.requires_grad)
    dtype = working_dtype(module, arrays)
    compiled = compile_gradient(
        lambda *values: module(*rebuild_structure(inputs, values)),
        [input_spec(array, dtype) for array in arrays],
        numbered("input", len(arrays)),
        dtype.name,
        max(1, len(arrays[0])),
        layer_names(module),
    )
    lowered, graph = compiled.lowered, compiled.lowered.graph
    program = lowered.program
    program.seed(new_seed() if compiled.is_random else 0)
    program.load(0, *arrays)
    program.forward()
    results = [lowered.view(output).copy() for output in graph.outputs]
    kept = lowered.arena.copy()  # the backward pass uses memory of the forward pass again
    forward_state = [
        (name, parameter, described(parameter), parameter.storage.copy())
        for name, parameter in module.named_parameters()
    ]

    def pullback(gradient: Any) -> Any:
        for name, parameter, place, values in forward_state:
            if described(parameter) != place or parameter.storage.tobytes() != values.tobytes():
                raise RuntimeError(
                    f"vjp: parameter {name!r} has changed (its values, or where they lie) between "
                    "the forward pass and this call of pullback; call vjp again"
                )
        lowered.arena[...] = kept
        program.load(len(arrays), *map(to_array, flatten_structure(gradient)))
        program.backward()
        found = []
        for value in graph.inputs[: len(arrays)]:
            gradient = graph.gradients.get(value)
            found.append(None if gradient is None else lowered.view(gradient).copy())
        return found[0] if len(found) == 1 else tuple(found)

    return rebuild_structure(compiled.structure, results), pullback


@dataclass(frozen=True)
class GradientCheck:
    """Largest differences between compiled and numerical gradients.

    Attributes
    ----------
    passed : bool
    errors : dict
        Name of an input or parameter -> largest error, as a share of what was allowed.
    worst : str
        The name with the largest.
    """

    passed: bool
    errors: dict[str, float]

    @property
    def worst(self) -> str:
        """The name with the largest error."""
        return max(self.errors, key=lambda name: self.errors[name])

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        lines = [
            f"{'ok  ' if error <= 1 else 'FAIL'} {name:30} {error:9.2e} of what is allowed"
            for name, error in self.errors.items()
        ]
        return "\n".join(lines)


def gradient_check(
    module: Module,
    *inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    samples: int | None = 64,
    seed: int = 0,
) -> GradientCheck:
    """Compares the compiled backward pass with central differences, in float64.

    The function checked is ``sum(module(*inputs) * dy)`` for a random dy; its derivative by each
    element is ``(f(x + eps) - f(x - eps)) / (2 eps)``. The module itself is left as it was.

    Parameters
    ----------
    module : Module
        In the mode (train or eval) that is to be checked; random dropout can't be.
    *inputs : array_like
        Integer labels are not varied.
    eps : float, default=1e-6
        Half the distance of the two points of a difference.
    atol : float, default=1e-5
    rtol : float, default=1e-3
        ``|compiled - numerical| <= atol + rtol * |numerical|`` is allowed. Where it does not hold,
        a tenth of `eps` is tried too: between the two points may lie a kink of ReLU.
    samples : int or None, default=64
        How many elements of each array are varied, drawn at random; None for all.
    seed : int, default=0

    Returns
    -------
    GradientCheck
        True in a condition if all is well; ``print`` shows a line for each array.

    Raises
    ------
    ValueError
        If `eps` is not above 0, `atol` or `rtol` below 0, or `samples` no whole number of 1 or
        more.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> bool(fastnn.gradient_check(fastnn.nn.Linear(3, 2), np.ones((4, 3))))
    True
    """
    eps = above_zero("eps", eps)
    atol, rtol = in_range("atol", atol, 0), in_range("rtol", rtol, 0)
    samples = None if samples is None else whole("samples", samples, 1)
    rng = np.random.default_rng(seed)
    module = copy.deepcopy(module).astype(np.float64)
    arrays = [as_array(leaf) for leaf in flatten_structure(list(inputs))]
    for array in arrays:
        to_reals("input", array)
    arrays = [a if a.dtype.kind in "iub" else a.astype(np.float64) for a in arrays]
    structured = rebuild_structure(inputs, arrays)
    output, pullback = vjp(module, *structured)
    leaves = flatten_structure(output)
    gradients = [rng.standard_normal(np.shape(leaf)) for leaf in leaves]
    found = pullback(rebuild_structure(output, gradients))
    found = found if isinstance(found, tuple) else (found,)

    def value() -> float:
        results = flatten_structure(module(*structured))
        return sum(float(np.vdot(r, g)) for r, g in zip(results, gradients, strict=True))

    def error_at(array: NDArray, position: tuple[int, ...], wanted: Any, eps: float) -> float:
        """Of one element of the gradient, as a share of what is allowed."""
        before = array[position]
        array[position] = before + eps
        above = value()
        array[position] = before - eps
        below = value()
        array[position] = before
        numerical = (above - below) / (2 * eps)
        error = float(abs(wanted - numerical) / (atol + rtol * abs(numerical)))
        return error if error == error else math.inf

    targets: dict[str, tuple[NDArray, NDArray]] = {}
    for name, array, gradient in zip(numbered("input", len(arrays)), arrays, found, strict=True):
        if gradient is not None and array.dtype.kind == "f":
            targets[name] = array, gradient
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            targets[name] = parameter.data, np.array(parameter.grad)
    errors = {}
    for name, (array, gradient) in targets.items():
        positions = list(np.ndindex(array.shape))
        if samples is not None and len(positions) > samples:
            positions = [positions[i] for i in rng.choice(len(positions), samples, replace=False)]
        worst = 0.0
        for position in positions:
            error = error_at(array, position, gradient[position], eps)
            if error > 1:  # perhaps there is a kink between the two points: look from nearer
                error = min(error, error_at(array, position, gradient[position], eps / CLOSER))
            worst = max(worst, error)
        errors[name] = worst
    return GradientCheck(all(error <= 1 for error in errors.values()), errors)
