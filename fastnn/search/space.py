"""What a search may try: one dimension for each hyperparameter.

A user writes SciPy distributions, lists, plain ranges or anything with ``rvs``; `Space` turns each
into one of five dimensions:

    (1e-4, 1e-1)       under a name of a learning rate or a regularization: LogUniform
    (0.0, 0.9)         under any other name: Uniform
    (16, 256)          two whole numbers: Integers, both ends included
    ["relu", "tanh"]   Choice
    an object          Distribution, or one of the first three where SciPy's says that it is

A dimension with a scale (all but Choice and what only has ``rvs``) maps the unit interval to
values, and back. Sampling, the points of a grid and the narrowing of `coarse_to_fine` all work in
the unit interval, so that a learning rate is narrowed in log space without anybody thinking of it.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastnn._checks import is_number
from fastnn.search.journal import described

#: Names whose plain ranges are taken in log space: alone, or after an underscore ("head_lr").
LOG_NAMES = (
    "lr",
    "learning_rate",
    "weight_decay",
    "reg",
    "regularization",
    "l1",
    "l2",
    "lambda",
    "lam",
)


class Dimension:
    """What one hyperparameter may be; a subclass says how a value is drawn."""

    #: Whether values lie on a scale that can be walked along, narrowed and widened.
    has_scale = False
    is_log = False

    def draw(self, rng: np.random.Generator) -> Any:
        """A value."""
        return self.at(float(rng.random()))

    def at(self, position: float) -> Any:
        """The value at a position of the unit interval."""
        raise TypeError(f"{self} has no scale")

    def position(self, value: Any) -> float:
        """Where a value lies; beyond 0 and 1 if it is outside."""
        raise TypeError(f"{self} has no scale")

    def part(self, low: float, high: float) -> Dimension:
        """The dimension between two positions, which may lie beyond 0 and 1."""
        raise TypeError(f"{self} has no scale")

    def points(self, count: int) -> list[Any]:
        """Values for a grid, evenly spaced with both ends."""
        positions = np.linspace(0, 1, count) if count > 1 else [0.5]
        return list(dict.fromkeys(self.at(float(position)) for position in positions))


@dataclass(frozen=True)
class Uniform(Dimension):
    """Any number between two, each as likely."""

    low: float
    high: float
    has_scale = True

    def at(self, position: float) -> float:
        return self.low + position * (self.high - self.low)

    def position(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def part(self, low: float, high: float) -> Uniform:
        # Zero and one mean something (a share, a momentum, a size): no range is widened past them.
        ends = [self.at(low), self.at(high)]
        if self.low >= 0:
            ends[0] = max(ends[0], 0.0)
        if self.high <= 1:
            ends[1] = min(ends[1], 1.0)
        return Uniform(*ends)

    def __str__(self) -> str:
        return f"uniform from {self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True)
class LogUniform(Dimension):
    """A number between two, each order of magnitude as likely: exp(uniform(log low, log high))."""

    low: float
    high: float
    has_scale = True
    is_log = True

    def at(self, position: float) -> float:
        # Rounding must not leave the range at its own ends.
        value = self.low * (self.high / self.low) ** position
        return min(max(value, self.low), self.high) if 0 <= position <= 1 else value

    def position(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)

    def part(self, low: float, high: float) -> LogUniform:
        return LogUniform(self.at(low), self.at(high))

    def __str__(self) -> str:
        return f"log-uniform from {self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True)
class Integers(Dimension):
    """A whole number from `low` to `high`, both included, each as likely."""

    low: int
    high: int
    has_scale = True

    def at(self, position: float) -> int:
        number = self.low + math.floor(position * (self.high - self.low + 1))
        return min(number, self.high) if position <= 1 else number

    def position(self, value: int) -> float:
        return (value - self.low + 0.5) / (self.high - self.low + 1)

    def part(self, low: float, high: float) -> Integers:
        first, last = self.at(low), self.at(high)
        for least in (1, 0):  # a width of 16 to 128 must not become one of -3 to 40
            if self.low >= least:
                first = max(first, least)
                break
        return Integers(first, max(first, last))

    def points(self, count: int) -> list[int]:
        values = np.linspace(self.low, self.high, count) if count > 1 else [self.at(0.5)]
        return list(dict.fromkeys(round(float(value)) for value in values))

    def __str__(self) -> str:
        return f"whole numbers from {self.low} to {self.high}"


@dataclass(frozen=True)
class Choice(Dimension):
    """One of some values, each as likely."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        return self.values[int(rng.integers(len(self.values)))]

    def points(self, count: int) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.values))


@dataclass(frozen=True)
class Distribution(Dimension):
    """An object with ``rvs``; with ``ppf`` and ``cdf`` too (SciPy's have them) it has a scale."""

    source: Any
    low: float = 0.0
    high: float = 1.0

    @property
    def has_scale(self) -> bool:  # type: ignore[override]
        return hasattr(self.source, "ppf") and hasattr(self.source, "cdf")

    def draw(self, rng: np.random.Generator) -> Any:
        if (self.low, self.high) == (0.0, 1.0):
            return plain(self.source.rvs(random_state=rng))
        return super().draw(rng)

    def at(self, position: float) -> Any:
        return plain(self.source.ppf(self.low + position * (self.high - self.low)))

    def position(self, value: Any) -> float:
        return (float(self.source.cdf(value)) - self.low) / (self.high - self.low)

    def part(self, low: float, high: float) -> Distribution:
        width = self.high - self.low
        return replace(
            self, low=max(0.0, self.low + low * width), high=min(1.0, self.low + high * width)
        )

    def points(self, count: int) -> list[Any]:
        # The ends of a normal distribution are infinite: the middles of `count` equal shares.
        positions = (np.arange(count) + 0.5) / count
        return list(dict.fromkeys(self.at(float(position)) for position in positions))

    def __str__(self) -> str:
        name = getattr(getattr(self.source, "dist", None), "name", type(self.source).__name__)
        if (self.low, self.high) == (0.0, 1.0):
            return f"distribution {name}"
        return f"distribution {name}, quantiles {self.low:.2f} to {self.high:.2f}"


class Space(Mapping[str, Dimension]):
    """The dimensions of a search by name.

    Parameters
    ----------
    dimensions : mapping of name to distribution, list or range
        See `random_search`.

    Attributes
    ----------
    notes : list of str
        What was read into a plain range: the names that are taken in log space.

    Raises
    ------
    TypeError, ValueError
        If `dimensions` is no mapping, is empty, or holds what is no dimension.

    Examples
    --------
    >>> space = Space({"lr": (1e-4, 1e-1), "hidden": (16, 64), "activation": ["relu", "tanh"]})
    >>> print(space)
    lr: log-uniform from 0.0001 to 0.1
    hidden: whole numbers from 16 to 64
    activation: one of relu, tanh
    >>> space.notes
    ['lr: the range 0.0001 to 0.1 is taken in log space']
    """

    def __init__(self, dimensions: Mapping[str, Any]):
        if not isinstance(dimensions, Mapping):
            raise TypeError(
                f"space: got {type(dimensions).__name__}, expected a mapping of names to "
                "distributions, lists or ranges (low, high)"
            )
        if not dimensions:
            raise ValueError("space: got no hyperparameter, expected one or more")
        self.notes: list[str] = []
        self._dimensions: dict[str, Dimension] = {}
        for name, given in dimensions.items():
            self._dimensions[name] = dimension = as_dimension(name, given)
            if isinstance(given, tuple) and isinstance(dimension, LogUniform):
                self.notes.append(
                    f"{name}: the range {dimension.low:g} to {dimension.high:g} is taken in log "
                    "space"
                )

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self) -> Any:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {dimension}" for name, dimension in self.items())

    def describe(self) -> dict[str, str]:
        """Each dimension exactly, as a journal holds it.

        Returns
        -------
        dict of str to str
        """
        return {
            name: f"{described(dimension.source)} {dimension.low} {dimension.high}"
            if isinstance(dimension, Distribution)
            else described(dimension)
            for name, dimension in self.items()
        }

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """A value for each hyperparameter, in the order of the space.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        dict
        """
        return {name: dimension.draw(rng) for name, dimension in self.items()}


def as_dimension(name: str, given: Any) -> Dimension:
    """What a user wrote as a dimension; TypeError or ValueError if it is none."""
    if isinstance(given, Dimension):
        return given
    if isinstance(given, tuple):
        return from_range(name, given)
    if isinstance(given, (list, np.ndarray, range)):
        if len(given) == 0:
            raise ValueError(f"space: {name}: got an empty list, expected one value or more")
        return Choice(tuple(plain(value) for value in given))
    if hasattr(given, "rvs"):
        return from_distribution(given)
    raise TypeError(
        f"space: {name}: got {type(given).__name__}, expected a distribution with rvs, a list of "
        "values or a range (low, high)"
    )


def from_range(name: str, given: Sequence[Any]) -> Dimension:
    """A plain range as a dimension."""
    are_numbers = all(is_number(end) and math.isfinite(end) for end in given)
    if len(given) != 2 or not are_numbers or not given[0] < given[1]:
        raise ValueError(
            f"space: {name}: got {tuple(given)}, expected a range (low, high) of two finite "
            "numbers with low below high; values to choose from are a list"
        )
    low, high = given
    if is_log_name(name):
        if low <= 0:
            raise ValueError(
                f"space: {name}: got the range {tuple(given)}, expected low above 0, since it is "
                "taken in log space; scipy.stats.uniform is not"
            )
        return LogUniform(float(low), float(high))
    if all(isinstance(end, numbers.Integral) for end in given):
        return Integers(int(low), int(high))
    return Uniform(float(low), float(high))


def is_log_name(name: str) -> bool:
    """Whether a name is that of a learning rate or of a regularization."""
    lowered = str(name).lower()
    return any(lowered == known or lowered.endswith("_" + known) for known in LOG_NAMES)


def from_distribution(given: Any) -> Dimension:
    """SciPy's uniform kinds as dimensions of ours, which can be widened; others as they are."""
    kind = getattr(getattr(given, "dist", None), "name", "")
    if kind in ("uniform", "loguniform", "reciprocal", "randint") and hasattr(given, "support"):
        low, high = (float(end) for end in given.support())
        if kind == "randint":
            return Integers(int(low), int(high))
        return Uniform(low, high) if kind == "uniform" else LogUniform(low, high)
    return Distribution(given)


def plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which JSON knows."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1):
        return value.item()
    return value
