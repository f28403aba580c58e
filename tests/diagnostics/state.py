"""Whether a check left everything as it was: bytes before and after."""

import contextlib

import numpy as np

from fastnn import random


def bytes_of(model, optimizer):
    """Everything that a check must not change."""
    state = {f"state {key}": array.tobytes() for key, array in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        state[f"gradient {name}"] = None if parameter.grad is None else parameter.grad.tobytes()
        state[f"place {name}"] = parameter.storage.ctypes.data, parameter.requires_grad
    for name, module in model.named_modules():
        state[f"mode {name}"] = module.training
    if optimizer is not None:
        state["steps"] = optimizer.steps_taken.tobytes()
        for name, array in optimizer.state.items():
            state[f"optimizer {name}"] = array.tobytes()
        for i, group in enumerate(optimizer.param_groups):
            options = {key: value for key, value in group.items() if key != "params"}
            state[f"group {i}"] = options, [id(p) for p in group["params"]]
    state["random"] = repr(random.generator().bit_generator.state)
    state["numpy random"] = np.random.get_state()[1].tobytes()
    return state


@contextlib.contextmanager
def unchanged(model, optimizer=None):
    """Asserts that a block changes nothing."""
    source, before = random._Source.generator, bytes_of(model, optimizer)
    yield
    assert random._Source.generator is source
    after = bytes_of(model, optimizer)
    assert before.keys() == after.keys()
    for key in before:
        assert before[key] == after[key], f"{key} changed"
