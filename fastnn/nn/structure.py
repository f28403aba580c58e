"""Modules that hold others, or give values another shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Self

from fastnn.nn import functional
from fastnn.nn.module import Module


class ModuleSequence(Module):
    """What `Sequential` and `ModuleList` share: modules by number, as in a list."""

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def _name_at(self, index: int) -> str:
        """What the module is called that is at a place, counted from the end if negative."""
        names = [name for name, _ in self.named_children()]
        if not -len(names) <= index < len(names):
            raise IndexError(
                f"{type(self).__name__}: got index {index}, expected one of {len(names)} modules"
            )
        return names[index]

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = Sequential() if isinstance(self, Sequential) else ModuleList()
            for name, module in list(self.named_children())[index]:
                part.add_module(name, module)
            return part
        return getattr(self, self._name_at(index))

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), self._checked(module))

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._replace(modules)

    def append(self, module: Module) -> Self:
        """Adds a module at the end.

        Parameters
        ----------
        module : Module

        Returns
        -------
        Module
            This one.
        """
        self.add_module(str(len(self)), self._checked(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Adds modules at the end.

        Parameters
        ----------
        modules : iterable of Module

        Returns
        -------
        Module
            This one.
        """
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Adds a module before the one at `index`; all are numbered anew.

        Parameters
        ----------
        index : int
        module : Module

        Returns
        -------
        Module
            This one.
        """
        modules = list(self)
        modules.insert(index, self._checked(module))
        self._replace(modules)
        return self

    def _replace(self, modules: list[Module]) -> None:
        """Makes these the modules, numbered from 0."""
        for name, _ in list(self.named_children()):
            delattr(self, name)
        self.extend(modules)

    def _checked(self, module: Any) -> Module:
        if not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: got {type(module).__name__}, expected a Module"
            )
        return module


class Sequential(ModuleSequence):
    """Modules one after the other.

    They can be counted, indexed, replaced and deleted by number, as those of a list.

    Parameters
    ----------
    *modules : Module, or one mapping of names to modules

    Raises
    ------
    TypeError
        If something else than a module is given.

    Examples
    --------
    >>> from fastnn import nn
    >>> model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    >>> model
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
    )
    >>> model[1] = nn.Tanh()
    >>> model[-1]
    Tanh()
    """

    def __init__(self, *modules: Module | OrderedDict[str, Module]):
        super().__init__()
        named: dict[str, Any] = {str(i): module for i, module in enumerate(modules)}
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = modules[0]
        for name, module in named.items():
            if not isinstance(module, Module):
                raise TypeError(
                    f"Sequential: got {type(module).__name__} at {name}, expected a Module"
                )
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(ModuleSequence):
    """A list of modules that ``forward`` of the module around it goes through.

    Parameters
    ----------
    modules : iterable of Module, default=()

    Raises
    ------
    TypeError
        If something else than a module is given.

    Examples
    --------
    >>> from fastnn import nn
    >>> layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> len(layers)
    3
    """

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)


class Flatten(Module):
    """Joins the axes from `start_dim` to `end_dim`, in PyTorch's order.

    Parameters
    ----------
    start_dim : int, default=1
        Counted with the batch, which is axis 0 and stays by itself.
    end_dim : int, default=-1

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Flatten()(np.zeros((5, 3, 4, 2))).shape
    (5, 24)
    >>> nn.Flatten(2)(np.zeros((5, 3, 4, 2))).shape
    (5, 3, 8)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = int(start_dim), int(end_dim)

    def forward(self, x: Any) -> Any:
        return functional.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """The input itself.

    Parameters
    ----------
    *args, **options
        Without effect, for PyTorch's sake.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Identity()(np.array([[1.0, 2.0]]))
    array([[1., 2.]])
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x
