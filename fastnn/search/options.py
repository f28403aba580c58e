"""The options that the kinds of search have in common, written down once.

A function that takes ``**options: Unpack[SearchOptions]`` and is decorated with `with_options`
shows them one by one, with their defaults, to whoever asks for its signature; it refuses others,
and gets them all.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypedDict, TypeVar

from fastnn.search.halving import SuccessiveHalving

P = ParamSpec("P")
R = TypeVar("R")


class FoldOptions(TypedDict, total=False):
    """Of a search, or of a training of each fold; `random_search` tells what they mean."""

    cv: Any
    groups: Any
    preprocessing: Any
    metric: Any
    maximize: bool | None
    batch_size: int
    seed: int
    early_stopping: bool | int
    executor: Executor | None
    workers: int | None
    progress: bool | None


class SearchOptions(FoldOptions, total=False):
    """Of every search."""

    validation: Any
    journal: str | os.PathLike[str] | None


class RandomSearchOptions(SearchOptions, total=False):
    """Of a random search."""

    halving: bool | int | SuccessiveHalving | None


# In the order in which signatures show them.
DEFAULTS: RandomSearchOptions = {
    "cv": None,
    "validation": None,
    "groups": None,
    "preprocessing": None,
    "metric": None,
    "maximize": None,
    "batch_size": 64,
    "seed": 0,
    "early_stopping": True,
    "halving": None,
    "executor": None,
    "workers": None,
    "journal": None,
    "progress": None,
}


def with_options(kind: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Spells out the options of a TypedDict, with their defaults, in a function's signature."""
    annotations = {
        name: getattr(annotation, "__forward_arg__", annotation)
        for name, annotation in kind.__annotations__.items()
    }

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        plain = inspect.signature(function)
        own = [p for p in plain.parameters.values() if p.kind is not p.VAR_KEYWORD]
        spelled_out = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[name]
            )
            for name, default in DEFAULTS.items()
            if name in annotations
        ]
        signature = plain.replace(parameters=[*own, *spelled_out])

        @functools.wraps(function)
        def complete(*args: P.args, **given: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **given)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            bound.apply_defaults()
            return function(*bound.args, **bound.kwargs)

        complete.__signature__ = signature  # type: ignore[attr-defined]
        return complete

    return decorate
