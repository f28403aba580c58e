"""The random numbers of initialization, shuffling and dropout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np


class _Source:
    """The generator of the process, seeded by the system until `manual_seed` is called."""

    generator: np.random.Generator | None = None


def manual_seed(seed: int) -> None:
    """Makes what follows repeatable: initial weights, shuffling, dropout.

    Parameters
    ----------
    seed : int
        Any non-negative integer.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.manual_seed(0)
    >>> a = fastnn.nn.Linear(2, 2).weight.data.copy()
    >>> fastnn.manual_seed(0)
    >>> bool((a == fastnn.nn.Linear(2, 2).weight.data).all())
    True
    """
    _Source.generator = np.random.default_rng(seed)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Gives back what is drawn inside: afterwards the numbers go on as before."""
    state = generator().bit_generator.state
    try:
        yield
    finally:
        generator().bit_generator.state = state


def new_seed() -> int:
    """A seed for the masks of a program, drawn from `generator`."""
    return int(generator().integers(2**63))


def generator() -> np.random.Generator:
    """The generator that everything of the process draws from."""
    if _Source.generator is None:
        _Source.generator = np.random.default_rng()
    return _Source.generator
