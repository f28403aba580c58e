"""Execution: compiled programs of a module, and when one has to be made again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array
from fastnn._compiler import CompiledFunction, compile_function
from fastnn._compiler.graph import Spec
from fastnn._compiler.trace import flatten_structure, rebuild_structure, traced_graph
from fastnn._core.aligned import address_of
from fastnn.nn.parameter import Parameter
from fastnn.nn.version import LayoutVersion, StructureVersion
from fastnn.random import new_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.nn.module import Module


class ProgramCache:
    """Programs of one module by input shapes, and the state in which they hold.

    Those of training and of inference are kept side by side: a validation between two epochs costs
    no compilation.
    """

    def __init__(self) -> None:
        self.by_modes: dict[Hashable, dict[Hashable, CompiledFunction]] = {}
        self.programs: dict[Hashable, CompiledFunction] = {}
        self.state: Hashable = None
        self.structure_version = self.layout_version = -1

    def run(self, module: Module, inputs: tuple) -> Any:
        """The module's results on arrays (or nested tuples, lists and dicts of them)."""
        key: Hashable
        if len(inputs) == 1 and type(inputs[0]) is np.ndarray:
            arrays: Sequence[NDArray] = inputs
            key = inputs[0].shape[1:], inputs[0].dtype.char
        else:
            leaves = flatten_structure(list(inputs))
            if traced_graph() is not None and any(isinstance(x, Parameter) for x in leaves):
                return record_of_parameters(module, inputs, leaves)
            arrays = [as_array(leaf) for leaf in leaves]
            if not arrays:
                raise TypeError(f"{type(module).__name__}: got no input, expected an array")
            key = tuple([(array.shape[1:], array.dtype.char) for array in arrays])
        if (
            self.structure_version != StructureVersion.count
            or self.layout_version != LayoutVersion.count
        ):
            self.refresh(module)
        compiled = self.programs.get(key)
        if compiled is None or len(arrays[0]) > compiled.capacity or compiled.is_stale():
            compiled = self.programs[key] = compile_module(module, inputs, arrays)
        if compiled.is_random:
            compiled.lowered.program.seed(new_seed())
        results = compiled.lowered.program.infer(*arrays)
        if compiled.is_single:
            return results[0]
        return rebuild_structure(compiled.structure, results)

    def refresh(self, module: Module) -> None:
        """Forgets the programs if the module, or where its parameters lie, has changed."""
        self.structure_version, self.layout_version = StructureVersion.count, LayoutVersion.count
        state = state_of(module)
        if state != self.state:
            self.by_modes.clear()
            self.state = state
        self.programs = self.by_modes.setdefault(modes_of(module), {})


def record_of_parameters(module: Module, inputs: tuple, leaves: Sequence[Any]) -> Any:
    """A module called inside a `forward` with parameters: part of what is recorded there."""
    from fastnn.nn.functional.record import plain_in_graph  # which needs modules

    graph = traced_graph()
    assert graph is not None
    values = [plain_in_graph(graph, x) if isinstance(x, Parameter) else x for x in leaves]
    return module._record(graph, rebuild_structure(inputs, values))


def modes_of(module: Module) -> Hashable:
    """Which parts of a module are in training and which in inference mode."""
    return tuple([part.training for part in module.modules()])


def state_of(module: Module) -> Hashable:
    """What a program of a module depends on, but its modes and its parameters' values."""
    state: list[Hashable] = []
    for name, part in module.named_modules():
        state.append((name, type(part), id(part)))
        for key, value in vars(part).items():
            if key not in SET_BY_INIT:
                state.append((key, described(value)))
    return tuple(state)


# What every module has, and is no option of any; buffers are attributes too.
SET_BY_INIT = frozenset(("training", "_programs", "_members", "_buffers"))


def described(value: Any) -> Hashable:
    """An attribute of a module as something that compares equal as long as it means the same."""
    if isinstance(value, (bool, int, float, str, type(None), np.generic)):
        return value
    if isinstance(value, Parameter):
        gradient = 0 if value.gradient is None else address_of(value.gradient)
        return (address_of(value.storage), gradient, value.requires_grad, value.dtype.char)
    if isinstance(value, (tuple, list)):
        return (type(value), *[described(item) for item in value])
    if isinstance(value, dict):
        return tuple([(key, described(item)) for key, item in value.items()])
    return Same(value)


class Same:
    """Equal to what holds the same object, which it keeps alive: another never gets its address."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


def as_array(value: Any) -> NDArray:
    """An input as an array with a batch axis."""
    array = to_array(value)
    require_batch(array)
    return array


def map_data(function: Callable[[Any], Any], data: Any) -> Any:
    """`function` of each array in a structure of data; lists of numbers are arrays."""
    if type(data) is np.ndarray or is_one_array(data):
        if not isinstance(data, list):
            require_batch(to_array(data))
        return function(data)
    if isinstance(data, dict):
        return {key: map_data(function, item) for key, item in data.items()}
    parts = [map_data(function, item) for item in data]
    named = isinstance(data, tuple) and hasattr(data, "_fields")
    return type(data)(*parts) if named else type(data)(parts)


def is_one_array(data: Any) -> bool:
    """Whether it stands for one array, and not for several: tuples and dicts never do."""
    if not isinstance(data, list):
        return not isinstance(data, (tuple, dict))
    first: Any = data
    while isinstance(first, (list, tuple)):
        if not first:
            return True
        first = first[0]
    return not isinstance(first, dict) and np.ndim(first) == 0


def require_batch(array: NDArray) -> None:
    """ValueError for a single number, as in a list of numbers that was meant for an array."""
    if array.ndim == 0:
        thing = array.item()
        what = "a number" if array.dtype.kind in "biuf" else f"one {type(thing).__name__}"
        raise ValueError(
            f"got {what}, expected an array whose first axis is the batch (lists and "
            "tuples stand for several inputs: make one of numbers an array by np.array)"
        )


def input_spec(array: NDArray, dtype: np.dtype) -> Spec:
    """What an input array is to the compiler: numbers of the network's precision.

    A loss makes labels of a target of shape (batch,), whatever it came as.
    """
    require_batch(array)
    if 0 in array.shape[1:]:
        raise ValueError(f"input: got shape {array.shape}, expected examples that are not empty")
    return Spec(array.shape[1:], dtype.name)


def numbered(name: str, count: int) -> list[str]:
    """What an error calls `count` inputs: by their name alone, or with numbers."""
    return [name] if count == 1 else [f"{name} {i}" for i in range(count)]


def layer_names(module: Module, root: str = "") -> dict[int, str]:
    """The dotted name of every module inside, by identity."""
    return {id(part): name or root or type(part).__name__ for name, part in module.named_modules()}


def compile_module(module: Module, inputs: tuple, arrays: Sequence[NDArray]) -> CompiledFunction:
    """The inference program of a module for these inputs."""
    dtype = working_dtype(module, arrays)
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise TypeError(f"input: got dtype {array.dtype}, expected real numbers")
    return compile_function(
        lambda *values: module(*rebuild_structure(inputs, values)),
        [input_spec(array, dtype) for array in arrays],
        numbered("input", len(arrays)),
        dtype.name,
        capacity=max(1, len(arrays[0])),
        layer_names=layer_names(module),
    )


def working_dtype(module: Module, arrays: Sequence[NDArray]) -> np.dtype:
    """The parameters' dtype; without parameters float64 if the first input is, else float32."""
    for parameter in module.parameters():
        return parameter.dtype
    is_double = arrays[0].dtype.char == "d"  # in either byte order
    return np.dtype(np.float64 if is_double else np.float32)
