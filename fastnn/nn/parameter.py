"""Parameters, and the flat buffer that those of one optimizer lie in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_reals
from fastnn._compiler.trace import traced_graph
from fastnn._core.aligned import aligned_zeros
from fastnn._core.constants import note_value_change
from fastnn.nn.version import LayoutVersion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from fastnn._compiler.graph import Graph, Value

# Every parameter starts on a cache line of the flat buffer; the gap is zero and stays zero.
ALIGNMENT_ELEMENTS = 16

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def as_dtype(dtype: DTypeLike) -> np.dtype:
    """float32 or float64; TypeError for any other."""
    result = np.dtype(dtype)
    if result not in DTYPES:
        raise TypeError(f"got dtype {result}, expected float32 or float64")
    return result


class Parameter:
    """An array that training changes.

    Inside a `forward` it serves as a weight or bias of `fastnn.nn.functional`; elementwise
    functions, sums and products take it too, and give a value that can serve as a weight.

    Parameters
    ----------
    data : array_like
        Initial values, in PyTorch's shape.
    requires_grad : bool, default=True
        Whether gradients are computed and an optimizer changes it.
    storage_axes : sequence of int, optional
        In which order the axes of `data` lie in memory: ``(1, 0)`` keeps a linear weight, whose
        shape is (out, in), as (in, out). Default: the order of the shape, which `linear` and
        `conv2d` rearrange in each step.

    Attributes
    ----------
    data : ndarray
        A view of the storage in PyTorch's shape: write to it in place. Assigning copies the
        values.
    grad : ndarray or None
        A view of the gradient of the last backward pass, in the same shape.

    Raises
    ------
    ValueError
        If values of another shape are assigned to `data`.

    Examples
    --------
    >>> weight = Parameter([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], storage_axes=(1, 0))
    >>> weight.shape, weight.storage.shape
    ((2, 3), (3, 2))
    """

    def __init__(
        self,
        data: NDArray,
        requires_grad: bool = True,
        storage_axes: Sequence[int] | None = None,
    ):
        array = to_reals("Parameter", data)
        dtype = array.dtype if array.dtype in DTYPES else np.dtype(np.float32)
        self.shape: tuple[int, ...] = array.shape
        self.storage_axes = tuple(storage_axes or range(array.ndim))
        self.seen_axes = tuple(map(self.storage_axes.index, range(array.ndim)))
        self._requires_grad = bool(requires_grad)
        self.buffer: ParameterBuffer | None = None
        self.storage: NDArray = own_memory(self.storage_shape, dtype)
        self.gradient: NDArray | None = None
        self.data = array

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed and an optimizer changes it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self._requires_grad = bool(requires_grad)
        LayoutVersion.count += 1  # programs compute other gradients now

    @property
    def storage_shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return tuple(self.shape[axis] for axis in self.storage_axes)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64."""
        return self.storage.dtype

    def seen(self, storage: NDArray) -> NDArray:
        """Memory laid out as the storage, in PyTorch's shape."""
        return storage.transpose(self.seen_axes)

    @property
    def data(self) -> NDArray:
        """The values in PyTorch's shape, a view: write to it in place."""
        note_value_change()  # by whoever asked for it
        return self.seen(self.storage)

    @data.setter
    def data(self, values: NDArray) -> None:
        values = to_reals("Parameter.data", values)
        if values.shape != self.shape:
            raise ValueError(f"got values of shape {values.shape}, expected {self.shape}")
        self.data[...] = values

    @property
    def grad(self) -> NDArray | None:
        """The gradient of the last backward pass, a view; None before the first."""
        return None if self.gradient is None else self.seen(self.gradient)

    def move(self, storage: NDArray, gradient: NDArray | None) -> None:
        """Makes other memory the parameter's own, with the values that it has."""
        storage[...] = self.storage
        self.storage, self.gradient = storage, gradient
        LayoutVersion.count += 1

    def own_views(self) -> int:
        """How many views of the memory behind the storage are fastnn's own.

        A program that keeps something made of the values sees by it whether there are others, by
        which the values may change.
        """
        if self.buffer is None:
            return 1
        owner = self.buffer.values.base
        return 1 + sum(parameter.storage.base is owner for parameter in self.buffer.parameters)

    def astype(self, dtype: DTypeLike) -> None:
        """Changes the precision in place.

        Parameters
        ----------
        dtype : float32 or float64
        """
        dtype = as_dtype(dtype)
        if dtype != self.dtype:
            self.buffer = None
            self.move(own_memory(self.storage_shape, dtype), None)

    def __deepcopy__(self, memo: dict) -> Parameter:
        return Parameter(np.array(self.data), self.requires_grad, self.storage_axes)

    def __reduce__(self):
        return Parameter, (np.array(self.data), self.requires_grad, self.storage_axes)

    def _in_graph(self, graph: Graph) -> Value:
        """The value of a graph that stands for it, in the order of its storage."""
        if self.dtype != graph.dtype:
            raise TypeError(
                f"got a parameter of {self.dtype} in a network of {graph.dtype}; convert the "
                "whole module with astype"
            )
        return graph.source(self, self.shape)

    def __array__(self, dtype=None, copy=None) -> NDArray:
        if traced_graph() is not None:
            raise TypeError(
                f"a {self!r} inside `forward` is no array, since its values would be compiled in: "
                "compute with fastnn.nn.functional"
            )
        return np.array(self.data, dtype=dtype) if copy is not False else self.data

    def _as_value(self) -> Value:
        """What arithmetic inside a `forward` computes with."""
        from fastnn.nn.functional.record import plain_in_graph  # which needs parameters

        graph = traced_graph()
        if graph is None:
            raise TypeError("arithmetic with a Parameter is for `forward`: compute with its data")
        return plain_in_graph(graph, self)

    @property
    def T(self) -> Any:
        """A matrix transposed, for a weight that is shared the other way round."""
        return self.data.T if traced_graph() is None else self._as_value().T

    def __add__(self, other):
        return self._as_value() + other

    def __sub__(self, other):
        return self._as_value() - other

    def __rsub__(self, other):
        return other - self._as_value()

    def __mul__(self, other):
        return self._as_value() * other

    def __truediv__(self, other):
        return self._as_value() / other

    def __neg__(self):
        return -self._as_value()

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


def own_memory(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """Zeros on a cache line, with slack to read beyond the end."""
    return aligned_zeros(math.prod(shape), dtype).reshape(shape)


def in_own_memory(values: ArrayLike, dtype: DTypeLike | None = None) -> NDArray:
    """A copy on cache lines of its own, where a training can write beside another."""
    array = to_reals("buffer", values)
    array = array.astype(array.dtype if dtype is None else dtype, copy=False)
    copy = own_memory(array.shape, array.dtype)
    copy[...] = array
    return copy


class ParameterBuffer:
    """One flat array for the values of many parameters and one for their gradients.

    An update is one kernel over them, a checkpoint one write. Parameters that have the options of
    one optimizer group lie side by side.

    Parameters
    ----------
    parameters : iterable of Parameter
        In the order in which they lie. They move here.
    """

    def __init__(self, parameters: Iterable[Parameter]):
        self.parameters = list(parameters)
        self.offsets = [0]
        for parameter in self.parameters:
            blocks = -(-parameter.size // ALIGNMENT_ELEMENTS)
            self.offsets.append(self.offsets[-1] + blocks * ALIGNMENT_ELEMENTS)
        dtype = self.parameters[0].dtype
        self.values = aligned_zeros(self.offsets[-1], dtype)
        self.gradients = aligned_zeros(self.offsets[-1], dtype)
        for parameter, start in zip(self.parameters, self.offsets, strict=False):
            stop, shape = start + parameter.size, parameter.storage_shape
            parameter.move(
                self.values[start:stop].reshape(shape), self.gradients[start:stop].reshape(shape)
            )
            parameter.buffer = self

    def stretches(self) -> dict[int, slice]:
        """Identity of a parameter -> the part of a flat array that is its own."""
        return {
            id(parameter): slice(start, start + parameter.size)
            for parameter, start in zip(self.parameters, self.offsets, strict=False)
        }

    def runs(self, parameters: Iterable[Parameter]) -> list[tuple[int, int]]:
        """The consecutive stretches (start, stop) of the buffer that some parameters take."""
        wanted = {id(parameter) for parameter in parameters}
        found: list[tuple[int, int]] = []
        for i, parameter in enumerate(self.parameters):
            if id(parameter) not in wanted:
                continue
            start, stop = self.offsets[i], self.offsets[i + 1]
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], stop)
            else:
                found.append((start, stop))
        return found

    def bounds(self, run: slice) -> NDArray:
        """Where the parameters of a run begin in it, and where the last ends, int64."""
        inside = [offset for offset in self.offsets if run.start <= offset <= run.stop]
        return np.array(inside, np.int64) - run.start


def ensure_gradients(parameters: Iterable[Parameter]) -> None:
    """Gives each parameter that has none a gradient of its own."""
    for parameter in parameters:
        if parameter.gradient is None:
            parameter.gradient = own_memory(parameter.storage_shape, parameter.dtype)
            LayoutVersion.count += 1


def one_buffer(parameters: Sequence[Parameter]) -> ParameterBuffer:
    """The buffer that exactly these parameters lie in, in this order; made if there is none."""
    first = parameters[0].buffer
    if first is not None and [*map(id, first.parameters)] == [*map(id, parameters)]:
        if all(parameter.buffer is first for parameter in parameters):
            return first
    return ParameterBuffer(parameters)
