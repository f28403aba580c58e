"""Graph and Node: the record of what a network computes, with no arithmetic in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastnn._compiler.layout import arrange
from fastnn._compiler.value import BATCH_SIZE, Spec, Value

if TYPE_CHECKING:
    from fastnn._compiler.operators.base import Operator

LABEL_DTYPE = "int64"
# The table of operators by name. Operators are made of what is defined here, so that
# fastnn/_compiler/operators/__init__.py fills it.
OPERATORS: dict[str, Operator] = {}


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
        inputs = list(inputs)
        if any(value is not None and value.graph is not self for value in inputs):
            raise TypeError(
                f"{name}: got a value of an earlier call of `forward`, which may keep none: what a "
                "network remembers from one call to the next has to be its input and its output"
            )
        node = Node(operator, inputs, attributes, self.layer)
        try:
            specs = operator.infer(node)
        except ValueError as error:
            raise ValueError(f"{self.where(name)}: {error}") from None
        node.outputs = [Value(self, spec, producer=node) for spec in specs]
        return node

    def where(self, name: str) -> str:
        """What an error about an operator begins with: the layer that is traced, if any is."""
        return f"layer {self.layer!r} ({name})" if self.layer else name

    def insert(self, position: int, node: Node) -> None:
        """Puts a node before the one at `position`, forward or backward as that one is."""
        self.nodes.insert(position, node)
        self.forward_count += position < self.forward_count

    def remove(self, gone: set[Node]) -> None:
        """Takes nodes out."""
        self.forward_count -= sum(node in gone for node in self.nodes[: self.forward_count])
        self.nodes = [node for node in self.nodes if node not in gone]

    def results(self) -> set[Value]:
        """What is read after a run, whatever nodes read it."""
        return {*self.outputs, *self.gradients.values(), *self.metrics.values()}

    def combine(self, name: str, a: Value, b: Any) -> Value:
        """An elementwise operator of two operands."""
        if not isinstance(b, Value) and hasattr(b, "_as_value"):  # a parameter
            b = b._as_value()
        if b is BATCH_SIZE:
            float(b)  # says that there is none yet
        if not isinstance(b, Value):
            raise TypeError(
                f"{name}: got {type(b).__name__}, expected a traced value, a plain number or a "
                "Parameter (an array is an input of the network)"
            )
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
