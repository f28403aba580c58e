"""Members: what is inside a module, and the walk through the tree that finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastnn.nn.parameter import Parameter
from fastnn.nn.version import MembershipVersion

if TYPE_CHECKING:
    from fastnn.nn.module import Module


@dataclass(frozen=True)
class Members:
    """Modules and parameters inside a module, each once, as they were at a `MembershipVersion`.

    The module itself is left out: it would live until the garbage collector finds the circle.
    """

    version: int
    modules: list[tuple[str, Module]]
    parameters: list[tuple[str, Parameter]]


def members_of(module: Module) -> Members:
    """What is inside; listed again where modules or parameters have been set since."""
    listed = module._members
    if listed is None or listed.version != MembershipVersion.count:
        listed = list_members(module)
        module.__dict__["_members"] = listed  # no change of the module
    return listed


def list_members(root: Module) -> Members:
    """The tree in depth, each module before those inside it, then their parameters."""
    version = MembershipVersion.count
    modules: list[tuple[str, Module]] = []
    parameters: list[tuple[str, Parameter]] = []
    seen: set[int] = set()
    ahead: list[tuple[str, Module]] = [("", root)]
    while ahead:
        name, module = ahead.pop()
        if id(module) not in seen:
            seen.add(id(module))
            modules.append((name, module))
            children = [(joined(name, key), child) for key, child in module.named_children()]
            ahead += reversed(children)
    for name, module in modules:
        for key, value in vars(module).items():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                parameters.append((joined(name, key), value))
    return Members(version, modules[1:], parameters)


def joined(prefix: str, name: str) -> str:
    """The dotted name of what is called `name` inside of `prefix`."""
    return f"{prefix}.{name}" if prefix else name


def check_name(module: Module, name: Any) -> None:
    """TypeError or ValueError unless a module inside `module` can have the name."""
    where = type(module).__name__
    if not isinstance(name, str):
        raise TypeError(f"{where}: got {name!r} as the name of a module, expected a string")
    if not name or "." in name or name == "training" or hasattr(type(module), name):
        raise ValueError(
            f"{where}: got {name!r} as the name of a module, expected one without a dot that is "
            "no attribute of every module"
        )
