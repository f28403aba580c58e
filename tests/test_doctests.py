"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import fastnn

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
    if "_core" not in module.name
)


@pytest.mark.parametrize("name", ["fastnn", *MODULES])
def test_examples(name):
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert result.failed == 0


def test_there_are_examples():
    assert any(doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES)
