"""Which build of the kernels serves this processor, and the table of kernels by name."""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType, SimpleNamespace
from typing import Any

import fastnn._core.cpu as cpu

X86_LEVELS = ("v2", "v3", "v4")


def built_levels() -> list[str]:
    """The instruction sets that this installation holds, from the plainest to the widest."""
    suffix = "_float32"
    names = os.listdir(os.path.dirname(__file__))
    return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix))


def usable_levels() -> list[str]:
    """Those that this processor can run."""
    level = cpu.x86_level()
    return [
        name
        for name in built_levels()
        if name not in X86_LEVELS or int(name.removeprefix("v")) <= level
    ]


@functools.cache
def isa() -> str:
    """The instruction set in use: the best that runs here, or what FASTNN_ISA asks for.

    Raises
    ------
    ImportError
        If there is no such build, or the processor can't run it.
    """
    usable = usable_levels()
    wanted = os.environ.get("FASTNN_ISA")
    if wanted and wanted not in usable:
        raise ImportError(
            f"FASTNN_ISA is {wanted!r}, expected one of {usable}: built are {built_levels()}, the "
            f"processor has x86-64 level {cpu.x86_level()}"
        )
    if not usable:
        raise ImportError(
            f"no build of the kernels runs here: built are {built_levels()}, the processor has "
            f"x86-64 level {cpu.x86_level()}, expected 2 or more"
        )
    return wanted or usable[-1]


@functools.cache
def kernels(dtype: str) -> dict[str, Any]:
    """Every kernel of the instruction set in use, for float32 or float64: name -> capsule."""
    folder = os.path.join(os.path.dirname(__file__), f"{isa()}_{dtype}")
    families = {name.partition(".")[0] for name in os.listdir(folder) if name[0] not in "_."}
    table: dict[str, Any] = {}
    for family in sorted(families):
        table.update(family_module(family, dtype).KERNELS)
    return table


@functools.cache
def constants(family: str) -> SimpleNamespace:
    """Numbers of a file of kernels that the compiler has to know: block sizes, codes of choices.

    They are defined in the kernels, and the same in every build.
    """
    return SimpleNamespace(**family_module(family, "float32").CONSTANTS)


def family_module(family: str, dtype: str) -> ModuleType:
    """The build of a file of kernels that serves this processor."""
    return importlib.import_module(f"fastnn._core.{isa()}_{dtype}.{family}")
