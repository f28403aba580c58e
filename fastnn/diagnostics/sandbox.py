"""The sandbox: a check experiments with copies, so that it changes nothing of the caller's.

Copies leave parameters, gradients, running averages, training modes and the optimizer's state where
they are, even if a check fails halfway. What a check draws at random comes from a generator of its
own, so that it repeats itself, and fastnn's generator goes on where it was.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import random
from fastnn._checks import whole
from fastnn._compiler.trace import flatten_structure
from fastnn.nn.dropout import Dropout, Dropout2d
from fastnn.nn.execution import as_array
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.training.data import convert, rows_of
from fastnn.training.step import TrainingStep


@contextlib.contextmanager
def own_randomness(seed: int = 0) -> Iterator[None]:
    """Random numbers from a generator that lasts for a ``with`` block, in this thread alone."""
    with random.own_generator(seed):
        yield


@contextlib.contextmanager
def sandbox(
    model: Module, loss: Module | None = None, optimizer: Optimizer | None = None
) -> Iterator[tuple[Any, Any, Any]]:
    """Copies of a model, a loss and an optimizer; parameters that they share stay shared."""
    for name, value in (("model", model), ("loss", loss)):
        if not isinstance(value, Module) and not (name == "loss" and value is None):
            raise TypeError(f"{name}: got {type(value).__name__}, expected a fastnn.nn.Module")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {type(optimizer).__name__}, expected one of fastnn.optim")
    with own_randomness():
        yield copy.deepcopy((model, loss, optimizer))


def training_without_dropout(model: Module) -> None:
    """Training mode everywhere but in dropout."""
    model.train()
    for module in model.modules():
        if isinstance(module, (Dropout, Dropout2d)):
            module.eval()


def count_examples(X: Any) -> int:
    """How many examples X has (one array, or a structure of them).

    Raises
    ------
    ValueError
        If there are none.
    """
    leaves = flatten_structure(convert(X, None, copies=False))
    count = len(as_array(leaves[0])) if leaves else 0
    if count == 0:
        raise ValueError("X: got an empty data set, expected one example or more")
    return count


def count_pairs(X: Any, y: Any) -> int:
    """How many examples X and y have; ValueError unless both have as many."""
    examples, targets = count_examples(X), len(flatten_structure(convert(y, None, copies=False))[0])
    if targets != examples:
        raise ValueError(f"y: got {targets} examples, expected {examples} as in X")
    return examples


def require_batches(
    model: Module, loss: Module, X: Any, y: Any, batch_size: int, held_out: int = 0
) -> None:
    """ValueError if the batches of a training would be too small for a layer of the network.

    Said before a check does anything, with what its caller can change.
    """
    examples = count_pairs(X, y)
    with sandbox(model, loss) as (copy, criterion, _):
        training_without_dropout(copy)
        step = TrainingStep(copy, criterion)
        step.programs.prepare(take(X, slice(1)), take(y, slice(1)))
        program = step.programs.lowered.program
        least, reason = program.least_batch, program.least_batch_reason
    batch = min(batch_size, examples - held_out)
    if batch < least:
        kept = f", {held_out} of them to hold out" if held_out else ""
        raise ValueError(
            f"{reason}: got {examples} example{'s' * (examples > 1)}{kept} and "
            f"batch_size={batch_size}, which makes batches of {batch}, expected {least} or more"
        )


def take(data: Any, rows: Any) -> Any:
    """Some rows of what a caller gave: an array or a list of numbers, or a structure of them."""
    return rows_of(convert(data, None, copies=False), rows)


def sample(X: Any, y: Any, count: int, name: str = "examples") -> tuple[Any, Any]:
    """At most `count` examples of X and y, drawn at random but the same at each call.

    An error about the count gives it the `name` by which the caller has it.
    """
    examples = count_pairs(X, y)
    count = whole(name, count, 1)
    if examples <= count:
        return take(X, slice(None)), take(y, slice(None))
    rows = np.sort(np.random.default_rng(0).choice(examples, count, replace=False))
    return take(X, rows), take(y, rows)
