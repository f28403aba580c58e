"""Modules that hold others, or give values another shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from fastnn.nn import functional
from fastnn.nn.module import Module


class Sequential(Module):
    """Modules one after the other.

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
    >>> nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
    )
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
            setattr(self, name, module)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def append(self, module: Module) -> Sequential:
        """Adds a module at the end.

        Parameters
        ----------
        module : Module

        Returns
        -------
        Sequential
            The network itself.
        """
        if not isinstance(module, Module):
            raise TypeError(f"Sequential: got {type(module).__name__}, expected a Module")
        setattr(self, str(len(self)), module)
        return self

    def __getitem__(self, index: int | slice) -> Module:
        modules = list(self.children())
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]


class ModuleList(Module):
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
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Adds a module at the end.

        Parameters
        ----------
        module : Module

        Returns
        -------
        ModuleList
            The list itself.
        """
        if not isinstance(module, Module):
            raise TypeError(f"ModuleList: got {type(module).__name__}, expected a Module")
        setattr(self, str(len(self)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]


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
