"""Imports run down the floors of the package, never up and never across."""

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "fastnn"
# From the ground up. What stands on one floor knows the floors below it, and not its neighbours.
FLOORS = [
    {"_checks", "_table", "_version"},
    {"preprocessing", "random"},
    {"_core"},
    {"_compiler", "config", "datasets"},
    {"nn"},
    {"differentiation", "models", "optim"},
    {"training"},
    {"diagnostics", "profiling", "search"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
STATEMENT = re.compile(r"^\s*(?:from|import|cimport) fastnn\.(\w+)", re.MULTILINE)
FROM_TOP = re.compile(r"^\s*from fastnn import ([\w, ]+)$", re.MULTILINE)
NEEDS_ALL = {SOURCE / "__init__.py", SOURCE / "config.py"}  # config tells the version


def files():
    """All sources of fastnn, but its public face."""
    found = [path for kind in ("py", "pyx", "pxd") for path in SOURCE.rglob(f"*.{kind}")]
    return sorted(set(found) - NEEDS_ALL)


def code_of(path):
    """The file without its docstrings, whose examples import from the top."""
    return re.sub(r'"""[\s\S]*?"""', "", path.read_text())


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_down(path):
    own = path.relative_to(SOURCE).with_suffix("").parts[0]
    code = code_of(path)
    names = set(STATEMENT.findall(code))
    names |= {name.strip() for line in FROM_TOP.findall(code) for name in line.split(",")}
    beyond = [name for name in names - {own} if FLOOR_OF[name] >= FLOOR_OF[own]]
    assert not beyond


def test_every_part_has_a_floor():
    parts = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__"} == set(FLOOR_OF)
