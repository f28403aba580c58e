"""The random numbers of initialization, shuffling and dropout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np

# A thread begins with an empty context, so that what one thread sets no other sees.
_own: ContextVar[np.random.Generator | None] = ContextVar("fastnn.generator", default=None)


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
    drawn = np.random.default_rng(seed)
    if _own.get() is None:
        _Source.generator = drawn
    else:
        _own.set(drawn)


@contextlib.contextmanager
def own_generator(seed: int | np.random.SeedSequence) -> Iterator[np.random.Generator]:
    """Lets this thread (or task) draw from a generator of its own, for a ``with`` block.

    Trainings that run side by side then give what each would give alone.
    """
    token = _own.set(np.random.default_rng(seed))
    try:
        yield generator()
    finally:
        _own.reset(token)


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
    """What everything draws from: the process's generator, or the thread's own."""
    own = _own.get()
    if own is not None:
        return own
    if _Source.generator is None:
        _Source.generator = np.random.default_rng()
    return _Source.generator
