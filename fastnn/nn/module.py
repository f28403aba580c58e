"""Module: what every layer, loss and network is."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastnn._compiler.graph import Value
from fastnn._compiler.trace import flatten_structure
from fastnn.nn.execution import SET_BY_INIT, ProgramCache
from fastnn.nn.members import Members, check_name, joined, members_of
from fastnn.nn.parameter import Parameter, as_dtype, in_own_memory
from fastnn.nn.state import LoadedKeys, load_state, state_dict_of
from fastnn.nn.version import MembershipVersion, StructureVersion

if TYPE_CHECKING:
    from collections import OrderedDict

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from fastnn.nn.summary import Summary


class Module:
    """A network, or a part of one.

    A subclass sets parameters, buffers and other modules as attributes in ``__init__`` and says in
    ``forward`` what it computes, with them and with `fastnn.nn.functional`. Called with NumPy
    arrays, a module is compiled for their shapes (once) and gives NumPy arrays. What else
    `forward` reads from attributes (numbers, lists, functions) is compiled in: assign to the
    attribute to change it, and the module is compiled anew. What is written inside a list or an
    array is not seen.

    Attributes
    ----------
    training : bool
        Whether dropout drops and batch normalization uses batch statistics; see `train`, `eval`.

    Raises
    ------
    AttributeError
        If an attribute is set before ``super().__init__()`` was called.
    TypeError
        If anything but a Parameter or None takes the place of a parameter, or there is no
        `forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> class Residual(nn.Module):
    ...     def __init__(self, width):
    ...         super().__init__()
    ...         self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU())
    ...
    ...     def forward(self, x):
    ...         return x + self.body(x)
    >>> Residual(3)(np.ones((2, 3), np.float32)).shape
    (2, 3)
    """

    training: bool

    def __init__(self) -> None:
        self._programs = ProgramCache()
        self._members: Members | None = None
        self._buffers: dict[str, NDArray] = {}
        self.training = True

    def forward(self, *inputs: Any) -> Any:
        """What the module computes; to be written by each subclass.

        Parameters
        ----------
        *inputs : traced values
            They know their shape, and compute nothing yet.
        """
        raise TypeError(f"{type(self).__name__} has no `forward`")

    def __call__(self, *inputs: Any) -> Any:
        """`forward` on traced values, or compiled and run on arrays."""
        if len(inputs) == 1 and type(inputs[0]) is np.ndarray:  # what matters for small networks
            return self._programs.run(self, inputs)
        for value in inputs:
            if isinstance(value, Value):
                return self._record(value.graph, inputs)
        if any(isinstance(leaf, Value) for leaf in flatten_structure(list(inputs))):
            graph = next(v for v in flatten_structure(list(inputs)) if isinstance(v, Value)).graph
            return self._record(graph, inputs)
        return self._programs.run(self, inputs)

    if not TYPE_CHECKING:  # to a type checker it would be an attribute of every name

        def __getattr__(self, name: str) -> Any:
            """What is missing: of a module that is not initialized, say why."""
            where = type(self).__name__
            if "_buffers" not in self.__dict__ and name in SET_BY_INIT:
                raise AttributeError(
                    f"{where} is not initialized: call super().__init__() at the start of "
                    f"{where}.__init__"
                )
            raise AttributeError(f"{where!r} object has no attribute {name!r}", name=name, obj=self)

    def _record(self, graph: Any, inputs: tuple) -> Any:
        outer = graph.layer
        graph.layer = graph.layer_names.get(id(self), outer)
        try:
            return self.forward(*inputs)
        finally:
            graph.layer = outer

    def __setattr__(self, name: str, value: Any) -> None:
        if "_buffers" not in self.__dict__ and not name.startswith("_"):
            raise AttributeError(
                f"{type(self).__name__}.{name} is set before super().__init__() was called: call "
                f"it at the start of {type(self).__name__}.__init__"
            )
        present = self.__dict__.get(name)
        if isinstance(present, Parameter) and not isinstance(value, (Parameter, type(None))):
            raise TypeError(
                f"{type(self).__name__}.{name}: got {type(value).__name__}, expected a Parameter "
                f"or None; write values to {name}.data"
            )
        StructureVersion.count += 1
        if name in self.__dict__.get("_buffers", ()):
            value = self._as_buffer(name, value)
        object.__setattr__(self, name, value)
        if isinstance(value, (Module, Parameter)) or isinstance(present, (Module, Parameter)):
            MembershipVersion.count += 1

    def __delattr__(self, name: str) -> None:
        StructureVersion.count += 1
        self._buffers.pop(name, None)
        object.__delattr__(self, name)
        MembershipVersion.count += 1

    def _as_buffer(self, name: str, values: Any) -> NDArray | None:
        """What is assigned to a buffer, in the precision of what was there."""
        if values is None:
            del self._buffers[name]
            return None
        self._buffers[name] = in_own_memory(values, self._buffers[name].dtype)
        return self._buffers[name]

    def register_buffer(self, name: str, values: NDArray) -> None:
        """Keeps an array that is part of the state but not trained, such as a running mean.

        Assigning to the attribute keeps the precision; None ends its being a buffer.

        Parameters
        ----------
        name : str
            Of the attribute.
        values : array_like
        """
        self._buffers[name] = in_own_memory(values)
        StructureVersion.count += 1
        object.__setattr__(self, name, self._buffers[name])

    # -- what is inside -------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one.

        Yields
        ------
        name : str
        module : Module
        """
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, with dotted names.

        Parameters
        ----------
        prefix : str, default=""
            The name of this module.

        Yields
        ------
        name : str
        module : Module
        """
        yield prefix, self
        for name, module in members_of(self).modules:
            yield joined(prefix, name), module

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once.

        Returns
        -------
        iterator of Module
        """
        return (module for _, module in self.named_modules())

    def children(self) -> Iterator[Module]:
        """The modules directly inside this one.

        Returns
        -------
        iterator of Module
        """
        return (module for _, module in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once, with dotted names.

        Yields
        ------
        name : str
        parameter : Parameter
        """
        yield from members_of(self).parameters

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once.

        Returns
        -------
        iterator of Parameter
        """
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, NDArray]]:
        """Arrays that are state but not trained, with dotted names.

        Yields
        ------
        name : str
        values : ndarray
        """
        for prefix, module in self.named_modules():
            for name, array in module._buffers.items():
                yield joined(prefix, name), array

    def buffers(self) -> Iterator[NDArray]:
        """Arrays that are state but not trained.

        Returns
        -------
        iterator of ndarray
        """
        return (array for _, array in self.named_buffers())

    def add_module(self, name: str, module: Module | None) -> None:
        """Sets an attribute by name, for names that are no identifiers such as "0".

        Parameters
        ----------
        name : str
            Without a dot, and no attribute that every module has, such as "forward".
        module : Module or None

        Raises
        ------
        TypeError, ValueError
            For any other name.
        """
        check_name(self, name)
        setattr(self, name, module)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the parameters; float32 where there are none."""
        for parameter in self.parameters():
            return parameter.dtype
        return np.dtype(np.float32)

    def zero_grad(self) -> None:
        """Fills the gradients with zeros.

        There is no need to before a step: `fastnn.TrainingStep.backward` and `fastnn.vjp` write
        gradients anew and never add to them.
        """
        for parameter in self.parameters():
            if parameter.gradient is not None:
                parameter.gradient[...] = 0

    # -- modes ----------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Sets training mode here and in all modules inside.

        Parameters
        ----------
        mode : bool, default=True
            False sets inference mode, as `eval` does.

        Returns
        -------
        Module
            This one.
        """
        for module in self.modules():
            if module.training != mode:
                module.training = mode
        return self

    def eval(self) -> Self:
        """Sets inference mode: no dropout, running averages in batch normalization.

        Returns
        -------
        Module
            This one.
        """
        return self.train(False)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[Self]:
        """Inference mode for a ``with`` block; afterwards each module is as it was.

        Yields
        ------
        Module
            This one.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield self
        finally:
            for module, mode in modes:
                if module.training != mode:
                    module.training = mode

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Sets whether the parameters inside are trained.

        Parameters
        ----------
        requires_grad : bool, default=True

        Returns
        -------
        Module
            This one.
        """
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def astype(self, dtype: DTypeLike) -> Self:
        """Converts parameters and buffers to float32 or float64 in place.

        Parameters
        ----------
        dtype : float32 or float64

        Returns
        -------
        Module
            This one.

        Raises
        ------
        TypeError
            For any other dtype.
        """
        dtype = as_dtype(dtype)
        for parameter in self.parameters():
            parameter.astype(dtype)
        for module in self.modules():
            for name, array in list(module._buffers.items()):
                if array.dtype.kind == "f":
                    module.register_buffer(name, array.astype(dtype))
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Calls a function on every module inside and then on this one.

        Parameters
        ----------
        function : callable
            Takes a module.

        Returns
        -------
        Module
            This one.
        """
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> OrderedDict[str, NDArray]:
        """Copies of all parameters and buffers, under PyTorch's keys and in its shapes.

        Returns
        -------
        dict of str to ndarray
        """
        return state_dict_of(self)

    def load_state_dict(
        self, state_dict: Mapping[str, ArrayLike], strict: bool = True
    ) -> LoadedKeys:
        """Copies values from a `state_dict`, of fastnn or of PyTorch (tensors are converted).

        Parameters
        ----------
        state_dict : mapping of names to arrays
        strict : bool, default=True
            Whether the keys must be exactly those of this module.

        Returns
        -------
        missing_keys : list of str
            Of this module, and not in `state_dict`: these values stay as they were.
        unexpected_keys : list of str
            In `state_dict`, and not of this module.

        Raises
        ------
        TypeError
            If it is not a mapping, or holds what NumPy has no type for (bfloat16).
        ValueError
            If keys are missing or unexpected (when `strict`), or shapes differ. Nothing is
            changed then.
        """
        return load_state(self, state_dict, strict)

    def summary(self, input_shape: Any, batch_size: int = 1) -> Summary:
        """Layers with their output shapes, parameters and operations, and the memory of the plan.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one example, without the batch. For a network that takes a tuple or a dict of
            arrays a tuple or a dict of shapes; where ``forward`` has several arguments, a list with
            one of these for each.
        batch_size : int, default=1
            Batch for which the memory is told.

        Returns
        -------
        Summary
            Prints as a table.
        """
        from fastnn.nn.summary import summarize

        return summarize(self, input_shape, batch_size)

    def __deepcopy__(self, memo: dict) -> Self:
        duplicate = type(self).__new__(type(self))
        memo[id(self)] = duplicate
        duplicate.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return duplicate

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        # Compiled code points into memory; it is made again when needed.
        del state["_programs"], state["_members"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.update(_programs=ProgramCache(), _members=None)
        MembershipVersion.count += 1
        for name in self._buffers:  # the attribute and the entry stay one array
            self.__dict__[name] = self._buffers[name]

    # -- looks ----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses of a layer's repr.

        Returns
        -------
        str
        """
        return ""

    def __repr__(self) -> str:
        lines = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self.named_children()
        ]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])
