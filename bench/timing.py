"""Timing: contenders take turns in short blocks, so that all see the same machine.

A turn is a pause (the workers of the library before spin for some milliseconds after their last
work, and would take the processors from the next), a few untimed runs, and a block of timed runs.
The figure of a contender is the median of its blocks' means.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

BLOCK_SECONDS = 0.15
WARM_SECONDS = 0.06
# OpenBLAS (in scikit-learn and NumPy) lets its workers spin for 2**26 cycles, some 25 ms.
PAUSE_SECONDS = 0.04
FEWEST_BLOCKS = 5


@dataclass
class Contender:
    """One library's way to do the work of a row.

    Parameters
    ----------
    name : the column
    run : does the work once
    units : how many steps (or whatever the row counts) one call of `run` is
    label : what exactly runs, where a column has several contenders
    """

    name: str
    run: Callable[[], object]
    units: int = 1
    label: str = ""
    calls: int = 1
    means: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds for one unit."""
        return statistics.median(self.means)


def elapsed(run: Callable[[], object], calls: int) -> float:
    """Seconds for a number of calls."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - start


def calls_for(run: Callable[[], object], seconds: float) -> int:
    """How many calls take about so long; at least one."""
    calls = 1
    while True:
        taken = elapsed(run, calls)
        if taken >= seconds / 4 or calls >= 1_000_000:
            return max(1, round(calls * seconds / max(taken, 1e-9)))
        calls *= 4


def turn(contender: Contender) -> None:
    """One block of a contender."""
    time.sleep(PAUSE_SECONDS)
    elapsed(contender.run, max(1, round(contender.calls * WARM_SECONDS / BLOCK_SECONDS)))
    taken = elapsed(contender.run, contender.calls)
    contender.means.append(taken / contender.calls / contender.units)


def measure(contenders: Sequence[Contender], seconds: float) -> None:
    """Fills `means` of all contenders, with about `seconds` of blocks for each."""
    for contender in contenders:
        time.sleep(PAUSE_SECONDS)
        for _ in range(3):
            contender.run()
        contender.calls = calls_for(contender.run, BLOCK_SECONDS)
        contender.means.clear()
    start = time.perf_counter()
    budget = seconds * len(contenders)
    rounds = 0
    while rounds < FEWEST_BLOCKS or time.perf_counter() - start < budget:
        shift = rounds % len(contenders)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            turn(contender)
        rounds += 1
