"""The state of a module: its parameters and buffers, by PyTorch's keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn._checks import to_array
from fastnn.nn.parameter import Parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.nn.module import Module


class LoadedKeys(NamedTuple):
    """Keys that a state dict and a module do not have in common."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def state_entries(module: Module, prefix: str = "") -> Iterator[tuple[str, NDArray]]:
    """Keys and arrays of the state; what is shared comes under each of its names."""
    for name, value in vars(module).items():
        if isinstance(value, Parameter):
            yield prefix + name, value.data
        elif name in module._buffers:
            yield prefix + name, value
    for name, child in module.named_children():
        yield from state_entries(child, f"{prefix}{name}.")


def state_dict_of(module: Module) -> OrderedDict[str, NDArray]:
    """See `Module.state_dict`."""
    return OrderedDict((key, np.array(array, order="C")) for key, array in state_entries(module))


def as_values(key: str, value: Any) -> NDArray:
    """An entry of a state dict as an array; a tensor that trains is taken without its gradient."""
    try:
        return to_array(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, RuntimeError) as error:  # bfloat16, another device
        raise TypeError(f"{key}: NumPy can't take it: {error}") from None


def load_state(module: Module, state_dict: Mapping[str, Any], strict: bool) -> LoadedKeys:
    """See `Module.load_state_dict`."""
    where = f"{type(module).__name__}.load_state_dict"
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"{where}: got {type(state_dict).__name__}, expected a mapping of names to arrays"
        )
    arrays = {key: as_values(key, value) for key, value in state_dict.items()}
    targets = dict(state_entries(module))
    loaded = LoadedKeys(
        [key for key in targets if key not in arrays],
        [key for key in arrays if key not in targets],
    )
    problems = key_problems(loaded) if strict else []
    for key, target in targets.items():
        if key in arrays:
            problems += array_problems(key, arrays[key], target)
    if problems:
        raise ValueError(f"{where}: " + "; ".join(problems))
    for key, target in targets.items():
        if key in arrays:
            target[...] = arrays[key]
    return loaded


def key_problems(loaded: LoadedKeys) -> list[str]:
    """What a strict load says of keys that only one side has."""
    missing, unexpected = loaded
    problems = [f"missing keys {missing}"] if missing else []
    return [*problems, f"unexpected keys {unexpected}"] if unexpected else problems


def array_problems(key: str, array: NDArray, target: NDArray) -> list[str]:
    """Why an array can't be loaded under a key."""
    if array.shape != target.shape:
        return [f"{key}: got shape {array.shape}, expected {target.shape}"]
    if array.dtype.kind not in "biuf":
        return [f"{key}: got dtype {array.dtype}, expected real numbers"]
    return []
