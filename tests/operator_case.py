"""A row of a table of operators, and what every row has to fulfil.

```
Case ──make──▶ Instance (module, inputs, expected) ──▶ check_values, check_gradients
```

References are in float64. `check_table` compares every row with its reference; the tests call it
for each instruction set, in a process of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastnn
from fastnn import nn

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
    exact_tolerance : as `tolerance`, of values in float64
    mixes : whether an element that is no finite number may spoil more of its example than it should
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
    exact_tolerance: float = 64
    mixes: bool = False

    def __str__(self) -> str:
        return self.name


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
    case = instance.case
    units = case.tolerance if dtype == np.float32 else case.exact_tolerance
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
