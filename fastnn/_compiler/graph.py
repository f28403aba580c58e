"""Graph, Node and Value: the record of what a network computes, with no arithmetic in it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from operator import add, mul, sub
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn._compiler.layout import PLAIN, arrange, seen_shape

if TYPE_CHECKING:
    from fastnn._compiler.operators.base import Operator

LABEL_DTYPE = "int64"
# The table of operators by name. Operators are made of what is defined here, so that
# fastnn/_compiler/operators/__init__.py fills it.
OPERATORS: dict[str, Operator] = {}


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
BINARY = {"add": add, "subtract": sub, "multiply": mul}


def is_number(thing: Any) -> bool:
    """Whether it is a plain real number, NumPy's included."""
    return isinstance(thing, numbers.Real) and not isinstance(thing, bool)


class Value:
    """An edge of the graph: something computed, an input, a parameter, a buffer or a constant.

    Attributes
    ----------
    shape, dtype, batched, layout : as in `Spec`
    producer : the Node that computes it, or None
    source : what it is where nothing computes it: an `Input`, a Parameter, a Buffer
    converted : the same images in the other layout, where they were asked for (layout.py)
    """

    __slots__ = (
        "batched",
        "converted",
        "dtype",
        "graph",
        "layout",
        "producer",
        "shape",
        "source",
    )

    def __init__(self, graph: Graph, spec: Spec, producer: Node | None = None, source: Any = None):
        self.graph = graph
        self.shape, self.dtype, self.batched = spec.shape, spec.dtype, spec.batched
        self.layout = spec.layout
        self.producer, self.source = producer, source
        self.converted: Value | None = None

    @property
    def size(self) -> int:
        """Elements of one example (of the whole, if not batched)."""
        return math.prod(self.shape)

    @property
    def columns(self) -> int:
        """Length of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Rows of `columns` elements in one example."""
        return self.size // self.columns

    def __repr__(self) -> str:
        axes = (["batch"] if self.batched else []) + [str(n) for n in seen_shape(self)]
        return f"Value({', '.join(axes)}; {self.dtype})"

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
        return NotImplemented

    def affine(self, factor: float, offset: float) -> Value:
        """factor * self + offset"""
        return self.graph.record("affine", [self], factor=float(factor), offset=float(offset))[0]

    __radd__, __rmul__ = __add__, __mul__

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
        raise TypeError(f"a traced value can't be indexed: {ELSEWHERE}")

    def __getattr__(self, name):
        raise AttributeError(f"a traced value has no {name!r}: {ELSEWHERE}")

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


@dataclass(eq=False)
class Input:
    """Where a Value comes from the caller."""

    index: int
    name: str


@dataclass(eq=False)
class Buffer:
    """An array that belongs to a module and is no parameter (a running mean, a constant)."""

    array: Any
    name: str = ""


class Node:
    """One application of an operator."""

    __slots__ = ("attributes", "inputs", "layer", "operator", "outputs")

    def __init__(self, operator, inputs, attributes, layer):
        self.operator = operator
        self.inputs: list[Any] = list(inputs)  # Values, or None for an absent one
        self.outputs: list[Value] = []
        self.attributes: dict[str, Any] = attributes
        self.layer: str = layer

    def __repr__(self) -> str:
        return f"Node({self.operator.name}, layer={self.layer!r})"


class Graph:
    """Nodes in the order in which they can be computed, and the values between them.

    Attributes
    ----------
    nodes : forward nodes, then (after autodiff) backward nodes
    forward_count : how many of them are forward nodes
    constant_count : how many of these, from the first, depend on no input (constants.py)
    largest_batch : that inference is planned for; None in training
    inputs, outputs : Values
    gradients : parameter or input Value -> Value of its gradient, after autodiff
    metrics : name -> Value of shape (4,) that a loss operator fills
    """

    def __init__(self, dtype: str, layer_names: dict[int, str] | None = None):
        self.dtype = dtype
        self.layer_names = layer_names or {}
        self.nodes: list[Node] = []
        self.forward_count = 0
        self.constant_count = 0
        self.largest_batch: int | None = None
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.gradients: dict[Value, Value] = {}
        self.metrics: dict[str, Value] = {}
        self.layer = ""
        self._sources: dict[int, Value] = {}
        self._keep_alive: list[Any] = []

    def input(self, name: str, spec: Spec) -> Value:
        """A new Value that the caller provides."""
        value = Value(self, spec, source=Input(len(self.inputs), name))
        self.inputs.append(value)
        return value

    def source(self, thing: Any, shape: Iterable[int], dtype: str | None = None) -> Value:
        """The Value of a parameter or of a buffer: always the same one for the same thing."""
        key = id(thing.array) if isinstance(thing, Buffer) else id(thing)
        if key not in self._sources:
            spec = Spec(tuple(shape), dtype or self.dtype, batched=False)
            self._sources[key] = Value(self, spec, source=thing)
            self._keep_alive.append(thing)
        return self._sources[key]

    def sources(self) -> list[Value]:
        """The Values of parameters and buffers, in the order in which they were met."""
        return list(self._sources.values())

    def record(self, name: str, inputs: Iterable[Value | None], **attributes) -> list[Value]:
        """Appends a node; its operator's shape rule checks the inputs and gives the outputs.

        Images are converted first to the layout that the operator asks for.
        """
        node = self.make_node(name, arrange(self, OPERATORS[name], inputs), **attributes)
        self.nodes.append(node)
        return node.outputs

    def make_node(self, name: str, inputs: Iterable[Value | None], **attributes) -> Node:
        """A node that is not appended yet, for passes that insert it elsewhere."""
        operator = OPERATORS[name]
        node = Node(operator, inputs, attributes, self.layer)
        try:
            specs = operator.infer(node)
        except ValueError as error:
            where = f"layer {self.layer!r} ({name}): " if self.layer else f"{name}: "
            raise ValueError(where + str(error)) from None
        node.outputs = [Value(self, spec, producer=node) for spec in specs]
        return node

    def combine(self, name: str, a: Value, b: Any) -> Value:
        """An elementwise operator of two operands."""
        if not isinstance(b, Value):
            raise TypeError(f"{name}: got {type(b).__name__}, expected a traced value")
        return self.record(name, [a, b])[0]

    def users(self) -> dict[Value, list[Node]]:
        """Which nodes read each value."""
        table: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                if value is not None:
                    table.setdefault(value, []).append(node)
        return table

    def replace(self, old: Value, new: Value) -> None:
        """Makes every reader of `old` read `new`."""
        for node in self.nodes:
            node.inputs = [new if value is old else value for value in node.inputs]
        self.outputs = [new if value is old else value for value in self.outputs]
        self.gradients = {
            key: (new if value is old else value) for key, value in self.gradients.items()
        }
        self.metrics = {
            key: (new if value is old else value) for key, value in self.metrics.items()
        }
