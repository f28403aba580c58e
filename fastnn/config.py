"""Threads, and what this installation is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

import fastnn._core.cpu as cpu
import fastnn._core.threads as threads
from fastnn._checks import whole
from fastnn._core import dispatch

MOST_THREADS = 1024


def set_num_threads(count: int) -> None:
    """Sets how many threads a kernel may use in this process.

    Parameters
    ----------
    count : int
        1 or more; at import it is OMP_NUM_THREADS, else the number of processors. Small work runs
        on one thread in any case. Results don't depend on it.

    Raises
    ------
    ValueError
        If `count` is no whole number from 1 to 1024.

    Examples
    --------
    >>> import fastnn
    >>> before = fastnn.get_num_threads()
    >>> fastnn.set_num_threads(1)
    >>> fastnn.get_num_threads()
    1
    >>> fastnn.set_num_threads(before)
    """
    threads.set_process_threads(whole("threads", count, 1, MOST_THREADS))


def get_num_threads() -> int:
    """How many threads a kernel may use when called from this Python thread.

    Returns
    -------
    int

    Examples
    --------
    >>> import fastnn
    >>> with fastnn.num_threads(2):
    ...     fastnn.get_num_threads()
    2
    """
    return threads.get_threads()


@contextlib.contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Limits kernels that this Python thread calls to `count` threads.

    Two trainings in two Python threads, each limited to one, run side by side.

    Parameters
    ----------
    count : int
        1 or more.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If `count` is no whole number from 1 to 1024.

    Examples
    --------
    >>> import fastnn
    >>> with fastnn.num_threads(1):
    ...     fastnn.get_num_threads()
    1
    """
    before = threads.get_thread_limit()
    threads.set_thread_limit(whole("threads", count, 1, MOST_THREADS))
    try:
        yield
    finally:
        threads.set_thread_limit(before)


def show_config() -> None:
    """Prints versions, the instruction set in use, and threads.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.show_config()  # doctest: +ELLIPSIS
    fastnn        ...
    """
    import platform
    import sys

    import fastnn

    rows = {
        "fastnn": fastnn.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "platform": f"{sys.platform} {platform.machine()}",
        "x86-64 level": cpu.x86_level() or "not x86-64",
        "built for": ", ".join(dispatch.built_levels()),
        "in use": dispatch.isa(),
        "openmp": "yes" if cpu.has_openmp() else "no: kernels run on one thread",
        "threads": get_num_threads(),
    }
    for name, value in rows.items():
        print(f"{name:13} {value}")
