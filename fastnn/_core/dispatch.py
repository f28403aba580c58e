"""Which build of the kernels serves this processor, and the table of kernels by name."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
from pathlib import Path
from typing import Any

from fastnn._core import cpu

X86_LEVELS = ("v2", "v3", "v4")


def built_levels() -> list[str]:
    """The instruction sets that this installation holds, from the plainest to the widest."""
    suffix = "_float32"
    folders = (path.name for path in Path(__file__).parent.glob(f"*{suffix}"))
    return sorted(name.removesuffix(suffix) for name in folders)


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
    package = f"fastnn._core.{isa()}_{dtype}"
    folder = Path(__file__).parent / f"{isa()}_{dtype}"
    table: dict[str, Any] = {}
    for family in pkgutil.iter_modules([str(folder)]):
        table.update(importlib.import_module(f"{package}.{family.name}").KERNELS)
    return table
