"""An optimizer's options and state as PyTorch's state_dict tells them: by number of the parameter.

Inside, state lies in flat arrays beside those of the parameters, in the order of the memory; told
outside, it has the shape of its parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_reals
from fastnn.nn.parameter import Parameter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.optim.optimizer import Optimizer


def numbered(optimizer: Optimizer) -> list[Parameter]:
    """All parameters; their places are the numbers that a state_dict calls them by."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def state_of_parameters(optimizer: Optimizer) -> list[dict[str, NDArray]]:
    """For each parameter its parts of the flat state, by name and in the parameter's shape."""
    assert optimizer.buffer is not None
    stretches = optimizer.buffer.stretches()
    return [
        {
            name: parameter.seen(flat[stretches[id(parameter)]].reshape(parameter.storage_shape))
            for name, flat in optimizer.state.items()
        }
        for parameter in numbered(optimizer)
    ]


def state_dict_of(optimizer: Optimizer) -> dict[str, Any]:
    """See `Optimizer.state_dict`."""
    groups, first = [], 0
    for group in optimizer.param_groups:
        last = first + len(group["params"])
        groups.append({**group, "params": list(range(first, last))})
        first = last
    state: dict[int, dict[str, NDArray]] = {}
    if optimizer.buffer is not None and optimizer.steps_taken[0]:
        for number, parts in enumerate(state_of_parameters(optimizer)):
            state[number] = {name: np.array(part) for name, part in parts.items()}
    return {
        "state": state,
        "param_groups": groups,
        "steps_taken": int(optimizer.steps_taken[0]),
    }


def options_of(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of each group; ValueError unless all of them serve this optimizer."""
    name = type(optimizer).__name__
    missing = {"state", "param_groups"} - set(state_dict)
    if missing:
        raise ValueError(f"{name}: got a state_dict without {sorted(missing)}")
    groups, loaded = optimizer.param_groups, state_dict["param_groups"]
    if len(loaded) != len(groups):
        raise ValueError(f"{name}: got {len(loaded)} parameter groups, expected {len(groups)}")
    options = []
    for number, (group, new) in enumerate(zip(groups, loaded)):
        waits = optimizer.takes_all and optimizer.buffer is None
        if not waits and len(new["params"]) != len(group["params"]):
            raise ValueError(
                f"{name}: group {number}: got {len(new['params'])} parameters, expected "
                f"{len(group['params'])}"
            )
        unlike = [key for key in optimizer.defaults if key not in new]
        if unlike:
            raise ValueError(f"{name}: group {number}: got no options {unlike}")
        options.append({key: new[key] for key in optimizer.defaults})
        optimizer.check_options(options[-1])
    return options


def check_shapes(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """ValueError unless each array of the state is as its parameter."""
    parameters = numbered(optimizer)
    for number, arrays in state_dict["state"].items():
        for key in optimizer.state_names():
            array = arrays.get(key)
            if not 0 <= number < len(parameters):
                raise ValueError(
                    f"{type(optimizer).__name__}: got a state of parameter {number}, expected "
                    f"0 to {len(parameters) - 1}"
                )
            if array is None:
                continue
            where = f"{type(optimizer).__name__}: parameter {number}"
            shape, expected = to_reals(f"{where}: {key}", array).shape, parameters[number].shape
            if shape != expected:
                raise ValueError(f"{where}: got {key} of shape {shape}, expected {expected}")


def load_state(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Fills the flat arrays, zero where nothing was kept, and the count of steps.

    ValueError, with nothing changed, where a shape is not that of its parameter.
    """
    check_shapes(optimizer, state_dict)
    state, any_kept = state_dict["state"], False
    for number, parts in enumerate(state_of_parameters(optimizer)):
        for name, part in parts.items():
            array = state.get(number, {}).get(name)
            part[...] = 0 if array is None else to_reals(name, array)
            any_kept |= array is not None
    # PyTorch counts no steps: there is a momentum_buffer from the first one on.
    optimizer.steps_taken[0] = state_dict.get("steps_taken", int(any_kept))
