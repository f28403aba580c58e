"""Journal: finished trials in a file, a JSON object a line, so that a killed search goes on.

    {"search": "random_search", "seed": 0, ...}                     what is searched
    {"number": 3, "stage": 0, "params": {...}, "score": 0.94, ...}  a trial, in the order they ended

A search that finds a file of the same search takes its trials as done. What determines a trial
(hyperparameters, weights, order of examples) follows from the seed and its number, so that it does
not matter which trials the file has. What is searched is told with a digest of the code of `build`,
so that scores of a network edited since are not taken for its own. A line that the end of the
process cut off is removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from fastnn._compiler.trace import flatten_structure
from fastnn.search.trial import FoldResult, Task, Trial

Key = tuple[int, int]
TRIAL_FIELDS = {field.name for field in dataclasses.fields(Trial)}


class Journal:
    """The trials of a file, and those appended to it.

    Parameters
    ----------
    path : path
    description : dict
        What determines the search, as JSON can hold it.

    Raises
    ------
    ValueError
        If the file is of another search, or no journal.
    """

    def __init__(self, path: str | os.PathLike[str], description: dict[str, Any]):
        self.path = Path(path)
        self.known: dict[Key, dict[str, Any]] = {}
        description = json.loads(json.dumps(description, default=described))
        lines = self.read()
        if lines:
            self.check(lines[0], description)
            self.known = {self.key(row): row for row in lines[1:]}
        self.file = open(self.path, "a", encoding="utf-8")
        if not lines:
            self.write(description)

    def read(self) -> list[dict[str, Any]]:
        """The whole lines of the file; what follows the last is cut off."""
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        complete = content.rfind(b"\n") + 1
        try:
            rows = [json.loads(line) for line in content[:complete].splitlines()]
        except ValueError as error:
            raise ValueError(
                f"journal {self.path}: expected a JSON object a line ({error})"
            ) from None
        if not all(isinstance(row, dict) for row in rows) or not (rows or not complete):
            raise ValueError(f"journal {self.path}: expected a JSON object a line")
        if complete < len(content):
            if not rows and not content.startswith(b'{"search": '):
                raise ValueError(f"journal {self.path}: expected a journal or no file, got another")
            os.truncate(self.path, complete)
        return rows

    def key(self, row: dict[str, Any]) -> Key:
        """Number and stage of a trial; ValueError for what is none."""
        missing = TRIAL_FIELDS - set(row)
        if missing:
            raise ValueError(
                f"journal {self.path}: expected a trial a line, got one without {sorted(missing)}"
            )
        return row["number"], row["stage"]

    def check(self, found: dict[str, Any], expected: dict[str, Any]) -> None:
        """ValueError that names what differs, if the file is of another search."""
        different = [
            f"{name} {found.get(name)!r} there, {expected.get(name)!r} here"
            for name in {**expected, **found}
            if found.get(name) != expected.get(name)
        ]
        if different:
            raise ValueError(
                f"journal {self.path}: it is of another search: {'; '.join(different)}. Give the "
                "same arguments, or another path"
            )

    def find(self, task: Task) -> Trial | None:
        """The trial of a task, if the file has it."""
        row = self.known.get((task.number, task.stage))
        if row is None:
            return None
        params = json.loads(json.dumps(task.params, default=described))
        if row["params"] != params or row["epochs"] != task.epochs:
            raise ValueError(
                f"journal {self.path}: trial {task.number} is there with {row['params']} and "
                f"{row['epochs']} epochs, expected {params} and {task.epochs}"
            )
        folds = tuple(fold_result(fold) for fold in row["folds"])
        # The hyperparameters are the task's own: a file holds some of them as text only.
        return Trial(**{**row, "params": task.params, "folds": folds})

    def append(self, trial: Trial) -> None:
        """Adds a trial; once this returns, an end of the process cannot lose it."""
        self.write({**trial.to_dict(), "seconds": trial.seconds})

    def write(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row, default=described) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


def fold_result(row: dict[str, Any]) -> FoldResult:
    """A fold as JSON holds it: its tuples are lists there."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return FoldResult(**fields)


def described(value: Any) -> str:
    """An object by name and settings, without what differs from run to run."""
    if hasattr(value, "dist") and hasattr(value, "args"):  # a frozen distribution of SciPy
        return f"{value.dist.name}{value.args}{value.kwds}"
    name = getattr(value, "__qualname__", None)
    return name if name is not None else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def described_code(function: Any) -> str:
    """A function by name and a short name for its code, without what it calls.

    So that a journal is not taken for that of a function that has been edited since.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return described(function)
    return f"{described(function)} {hashlib.sha256(content_of(code).encode()).hexdigest()[:8]}"


def content_of(constant: Any) -> str:
    """What code does, without where it stands; the same in every process."""
    if isinstance(constant, CodeType):
        names = (constant.co_names, constant.co_varnames, constant.co_freevars)
        constants = [content_of(item) for item in constant.co_consts]
        return f"{constant.co_code!r} {names} {constants}"
    if isinstance(constant, frozenset):  # in an order of each process's own
        return repr(sorted(content_of(item) for item in constant))
    return repr(constant)


def fingerprint(*data: Any) -> str:
    """A short name for the content of arrays."""
    digest = hashlib.sha256()
    for leaf in flatten_structure(list(data)):
        array = np.asarray(leaf)
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes() if array.dtype.kind != "O" else repr(array.tolist()).encode())
    return digest.hexdigest()[:16]
