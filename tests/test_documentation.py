"""The reference has every public name, and no other; docstrings have examples and defaults."""

import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import pytest

import fastnn
from fastnn import models, nn

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
ENTRY = re.compile(r"   (\w+)$")


def public_modules():
    """fastnn and all modules below whose names are public and that say what they export."""
    names = [module.name for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")]
    shown = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
    modules = [fastnn, *map(importlib.import_module, shown)]
    return [module for module in modules if hasattr(module, "__all__")]


def documented():
    """Full names of what the pages list, and of the modules that they describe."""
    names, modules = [], []
    for page in sorted(REFERENCE.glob("*.rst")):
        module, in_summary = "", False
        for line in page.read_text().splitlines():
            directive = re.match(r"\.\. (\w+):: ?(.*)$", line)
            if directive:
                kind, argument = directive.groups()
                in_summary = kind == "autosummary"
                if kind in ("module", "currentmodule"):
                    module = argument
                if kind == "module":
                    modules.append(argument)
                if kind == "data":
                    names.append(f"{module}.{argument}")
            elif in_summary and ENTRY.match(line):
                names.append(f"{module}.{line.strip()}")
            elif line and not line.startswith(" "):
                in_summary = False
    return names, modules


def resolve(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute, None)


NAMES, MODULES = documented()


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_public_names_are_documented(module):
    there = {id(resolve(name)) for name in NAMES} | {
        id(importlib.import_module(name)) for name in MODULES
    }
    missing = [name for name in module.__all__ if id(getattr(module, name)) not in there]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_documented_names_are_public(name):
    module, _, attribute = name.rpartition(".")
    assert attribute in importlib.import_module(module).__all__
    assert not isinstance(resolve(name), types.ModuleType)


def test_nothing_is_documented_twice():
    assert len(NAMES) == len(set(NAMES))


def needs_example(thing):
    """Functions, and the modules that networks are made of."""
    return inspect.isfunction(thing) or (
        isinstance(thing, type) and issubclass(thing, nn.Module) and thing not in BUILT_BY_FUNCTIONS
    )


BUILT_BY_FUNCTIONS = (models.AlexNet, models.ResNet, models.VGG)


@pytest.mark.parametrize("name", [name for name in NAMES if needs_example(resolve(name))])
def test_functions_and_layers_have_an_example(name):
    assert ">>>" in resolve(name).__doc__


def callables_of(name):
    """A public function, or a class and its public methods: those that describe parameters."""
    thing = resolve(name)
    found = [thing]
    if inspect.isclass(thing):
        found += [value for key, value in vars(thing).items() if not key.startswith("_")]
    return [each for each in found if callable(each) and "Parameters\n" in (each.__doc__ or "")]


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_told(name):
    silent = []
    for thing in callables_of(name):
        # "a, b : type" begins the entry of two parameters; one without a type refers elsewhere.
        entries = re.findall(r"^([\w, ]+) : (.*(?:\n +.*)*)$", inspect.getdoc(thing), re.MULTILINE)
        told = {part.strip(): text for names, text in entries for part in names.split(",")}
        silent += [
            (thing.__qualname__, parameter.name)
            for parameter in inspect.signature(thing).parameters.values()
            if parameter.default is not parameter.empty
            and not re.search("default|optional|None", told.get(parameter.name, "default"))
        ]
    assert not silent
