"""Value: what stands for an array inside a `forward`, and an edge of the graph.

It has what people write of arrays where that can be recorded (sums and products, `shape`,
`reshape`, `flatten`), and errors that say what to write instead for the rest.
"""

from __future__ import annotations

import math
import operator
from operator import add, mul, sub
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn._checks import is_number
from fastnn._compiler.layout import PLAIN, seen_shape

if TYPE_CHECKING:
    from fastnn._compiler.graph import Graph, Node


class Spec(NamedTuple):
    """What a shape rule says of an output.

    `shape` is that of one example where `batched` (the batch axis is never part of it, so that a
    graph serves any batch), else of the whole; in memory's order, which `layout` tells.
    """

    shape: tuple[int, ...]
    dtype: str
    batched: bool = True
    layout: str = PLAIN


# What to tell somebody who takes a traced value for an array.
ELSEWHERE = "compute with fastnn.nn modules and fastnn.nn.functional"
# What to write for it, with `F` for fastnn.nn.functional.
POOLED = "F.adaptive_avg_pool2d(x, 1).flatten(1) is the mean over the pixels of each channel"
FUNCTIONS = ("relu", "sigmoid", "tanh", "softmax", "log_softmax", "dropout")
INSTEAD = {
    **{name: f"write F.{name}(x)" for name in FUNCTIONS},
    "mean": POOLED,
    "sum": f"the sum of some values is a + b; {POOLED}",
    "max": "F.max_pool2d(x, size) is the largest of each window",
    "matmul": "x @ w.T with a weight w is F.linear(x, w)",
    "mm": "x @ w.T with a weight w is F.linear(x, w)",
    "pow": "x * x is a square",
    "clamp": "F.relu(x) is x.clamp(min=0)",
    "squeeze": "x.flatten(1) leaves the batch and one axis; x.reshape(x.shape[0], ...) any",
    "unsqueeze": "x.reshape(x.shape[0], ...) adds axes of one element",
    "permute": "the axes of examples can't be exchanged in `forward`",
    "transpose": "the axes of examples can't be exchanged in `forward`",
    "T": "the axes of examples can't be exchanged in `forward`",
    "detach": "set requires_grad of parameters to False to keep them",
    "item": "a value has no numbers before the network runs",
    "numpy": "a value has no numbers before the network runs",
    "to": "a network computes in one precision, on CPUs: see Module.astype",
    "float": "a network computes in one precision, that of its parameters: see Module.astype",
    "double": "a network computes in one precision, that of its parameters: see Module.astype",
}
BINARY = {"add": add, "subtract": sub, "multiply": mul}


class BatchSize:
    """The number of examples: a word for it in shapes, since a program serves any."""

    def __repr__(self) -> str:
        return "batch"

    def _refuse(self, *others: Any) -> Any:
        raise TypeError(
            "the batch size is not known in `forward`, which is compiled for batches of any size: "
            "x.shape[1:] has the numbers, and x.reshape(x.shape[0], ...) takes it as it is"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _refuse
    __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __neg__ = __bool__ = _refuse
    __int__ = __index__ = __float__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __eq__(self, other: object) -> bool:
        return self is other or bool(self)

    __hash__ = object.__hash__


BATCH_SIZE = BatchSize()


class Value:
    """An edge of the graph: something computed, an input, a parameter, a buffer or a constant.

    Inside a `forward` it is what stands for an array. Its `shape` is that of the array, in
    PyTorch's order, with `BATCH_SIZE` for the number of examples, which only a run knows.

    Attributes
    ----------
    example_shape : `Spec.shape`, of one example in the order of memory; for the passes
    dtype, batched, layout : as in `Spec`
    producer : the Node that computes it, or None
    source : what it is where nothing computes it: an `Input`, a Parameter, a Buffer
    converted : the same images in the other layout, where they were asked for (layout.py)
    """

    __slots__ = (
        "batched",
        "converted",
        "dtype",
        "example_shape",
        "graph",
        "layout",
        "producer",
        "source",
    )

    def __init__(self, graph: Graph, spec: Spec, producer: Node | None = None, source: Any = None):
        self.graph = graph
        self.example_shape, self.dtype, self.batched = spec.shape, spec.dtype, spec.batched
        self.layout = spec.layout
        self.producer, self.source = producer, source
        self.converted: Value | None = None

    @property
    def shape(self) -> tuple[Any, ...]:
        """As of an array: (BATCH_SIZE, channels, height, width) of images."""
        return (BATCH_SIZE, *seen_shape(self)) if self.batched else self.example_shape

    @property
    def ndim(self) -> int:
        """The number of axes, with the batch."""
        return len(self.example_shape) + self.batched

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one number of it."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of axes, with the batch."""
        return self.ndim

    @property
    def example_size(self) -> int:
        """Elements of one example (of the whole, if not batched)."""
        return math.prod(self.example_shape)

    @property
    def columns(self) -> int:
        """Length of the last axis."""
        return self.example_shape[-1] if self.example_shape else 1

    @property
    def rows(self) -> int:
        """Rows of `columns` elements in one example."""
        return self.example_size // self.columns

    def __repr__(self) -> str:
        return f"Value({', '.join(map(str, self.shape))}; {self.dtype})"

    def __add__(self, other):
        if is_number(other):
            return self if other == 0 else self.affine(1.0, other)  # sum() starts from 0
        return self.graph.combine("add", self, other)

    def __mul__(self, other):
        if is_number(other):
            return self.affine(other, 0.0)
        return self.graph.combine("multiply", self, other)

    def __neg__(self):
        return self.affine(-1.0, 0.0)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        if is_number(other):
            return self.affine(-1.0, other)
        return NotImplemented

    def __truediv__(self, other):
        if is_number(other):
            return self.affine(1.0 / other, 0.0)
        raise TypeError(f"got a traced value divided by {type(other).__name__}, expected a number")

    def affine(self, factor: float, offset: float) -> Value:
        """factor * self + offset"""
        return self.graph.record("affine", [self], factor=float(factor), offset=float(offset))[0]

    __radd__, __rmul__ = __add__, __mul__

    def flatten(self, start_dim: int = 1, end_dim: int = -1) -> Value:
        """Neighbouring axes joined; the batch, axis 0, stays by itself."""
        if not self.batched:
            raise TypeError(f"flatten: got {self!r}, which has no batch; use reshape")
        axes = self.ndim
        start, end = (dim + axes if dim < 0 else dim for dim in (start_dim, end_dim))
        if axes == 1 and (start_dim, end_dim) == (1, -1):
            start, end = 1, 0  # (batch,) to (batch, 1)
        elif not 1 <= start <= end < axes:
            raise ValueError(
                f"flatten: got start_dim={start_dim}, end_dim={end_dim} for {self.shape}, "
                "expected axes after the batch in order"
            )
        sizes = self.shape[1:]
        joined = math.prod(sizes[start - 1 : end])
        return self._reshaped((*sizes[: start - 1], joined, *sizes[end:]))

    def reshape(self, *shape: Any) -> Value:
        """The same elements of each example in another shape, whose first axis is the batch."""
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        sizes = list(shape)
        keeps_batch = not self.batched
        if self.batched and sizes and (sizes[0] is BATCH_SIZE or sizes[0] == -1):
            keeps_batch, first = True, sizes.pop(0)
            if first is not BATCH_SIZE and -1 in sizes:
                keeps_batch = False  # two unknown
        if sizes.count(-1) == 1:
            known = math.prod(n for n in sizes if n != -1)
            sizes[sizes.index(-1)] = self.example_size // known if known > 0 else 0
        if not keeps_batch or min(sizes, default=1) < 1 or math.prod(sizes) != self.example_size:
            raise ValueError(
                f"reshape: got {shape} for {self.shape}, expected the batch first, as it is, and "
                f"{self.example_size} elements an example: x.reshape(x.shape[0], ...)"
            )
        return self._reshaped(tuple(map(operator.index, sizes)))

    view = reshape

    @property
    def T(self) -> Value:
        """A matrix of parameters transposed."""
        if self.batched or self.ndim != 2:
            raise AttributeError(f"a traced value has no 'T': {INSTEAD['T']}")
        rows, columns = self.example_shape
        (turned,) = self.graph.record("transpose", [self], count=1, rows=rows, columns=columns)
        return turned._reshaped((columns, rows))

    def _reshaped(self, shape: tuple[int, ...]) -> Value:
        return self.graph.record("reshape", [self], shape=shape)[0]

    def __bool__(self):
        raise TypeError(
            "the control flow of `forward` must not depend on data: a traced value has a shape "
            "and a dtype, but no numbers yet"
        )

    def __lt__(self, other):
        return bool(self)  # which says why not

    __gt__ = __le__ = __ge__ = __lt__

    def __eq__(self, other):
        # Among values and None it is identity, which the passes ask for in lists.
        return self is other if other is None or isinstance(other, Value) else bool(self)

    __hash__ = object.__hash__

    def __copy__(self):
        return self  # nothing changes it

    def __deepcopy__(self, memo):
        return self

    def __getitem__(self, index):
        raise TypeError(
            "a traced value can't be indexed or cut: give the network its parts as several inputs, "
            "or compute each with a layer of its own"
        )

    def __getattr__(self, name):
        raise AttributeError(f"a traced value has no {name!r}: {INSTEAD.get(name, ELSEWHERE)}")

    def __matmul__(self, other):
        raise TypeError(f"products of matrices: {INSTEAD['matmul']}")

    __rmatmul__ = __matmul__

    def __pow__(self, other):
        raise TypeError(f"powers of a traced value: {INSTEAD['pow']}")

    def __abs__(self):
        raise TypeError("the absolute value of a traced value: F.relu(x) + F.relu(-x)")

    def __rtruediv__(self, other):
        raise TypeError("a traced value can't be a divisor, only numbers can")

    def __len__(self):
        raise TypeError(f"a traced value has no length, the batch may have any: {ELSEWHERE}")

    __iter__ = None  # so that list() refuses it at once

    def __array__(self, dtype=None, copy=None):
        raise TypeError(f"a traced value is no array: {ELSEWHERE}")

    def __array_function__(self, function, types, arguments, options):
        raise TypeError(f"numpy.{function.__name__} of a traced value: {ELSEWHERE}")

    def __array_ufunc__(self, function, method, *operands, **options):
        """Sums, differences and products with a number of NumPy's on the left."""
        by_python = BINARY.get(function.__name__)
        if method == "__call__" and by_python and is_number(operands[0]) and not options:
            return by_python(float(operands[0]), operands[1])
        raise TypeError(f"numpy.{function.__name__} of a traced value: {ELSEWHERE}")
