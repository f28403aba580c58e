"""What an operator is to the compiler, and the words in which it asks for its kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastnn._compiler.graph import Node, Spec, Value
from fastnn._core.dispatch import constants

# Rates from which the serial time of a step is estimated, for the choice between one thread and
# the team (fastnn/_core/program.pyx). They need only be right to a factor of two.
FLOPS_PER_NANOSECOND = 80.0
ELEMENTS_PER_NANOSECOND = 8.0
EXPONENTIALS_PER_NANOSECOND = 1.3
BYTES_PER_NANOSECOND = 60.0

# A thread's copy of a panel of a matrix product: so many rows of four vectors of 64 bytes at the
# most.
PRODUCTS = constants("linear")
PANEL_WORKSPACE_BYTES = PRODUCTS.DEPTH_BLOCK * 4 * 64

ITEMSIZES = {"float32": 4, "float64": 8, "int64": 8, "uint16": 2}


class Size:
    """A number that is affine in the batch: per_example * batch + constant; not to be changed."""

    __slots__ = ("constant", "per_example")  # a compilation makes hundreds

    def __init__(self, per_example: float = 0, constant: float = 0):
        self.per_example, self.constant = per_example, constant

    def __mul__(self, factor: float) -> Size:
        return Size(self.per_example * factor, self.constant * factor)

    __rmul__ = __mul__

    def __add__(self, other: Size | float) -> Size:
        if isinstance(other, Size):
            return Size(self.per_example + other.per_example, self.constant + other.constant)
        return Size(self.per_example, self.constant + other)

    def at(self, batch: int) -> float:
        """The number for a batch."""
        return self.per_example * batch + self.constant


BATCH = Size(per_example=1)


def elements(value: Value) -> Size:
    """How many elements a value has in all."""
    return BATCH * value.example_size if value.batched else Size(constant=value.example_size)


def rows(value: Value) -> Size:
    """How many rows of `value.columns` elements it has in all."""
    return BATCH * value.rows if value.batched else Size(constant=value.rows)


@dataclass
class Call:
    """A kernel and its operands, in the order in which the kernel takes them."""

    kernel: str
    data: list[Value | None]
    sizes: list[Size | int] = field(default_factory=list)
    scalars: list[float] = field(default_factory=list)
    nanoseconds: Size = field(default_factory=Size)
    workspace_per_thread: int | Size = 0
    shared_workspace: int | Size = 0


class Operator:
    """One row of the operator table: its shape rule, its backward rule, its kernel.

    Attributes
    ----------
    name : the key in the table
    in_place : pairs (output, input) that may share memory where the input is not read later
    is_view : the output is the input's memory under another shape
    reads_beyond : inputs of which a kernel reads (never uses) a vector beyond the end, which must
        therefore not lie in memory of the caller's
    updates_state : has an effect besides its outputs, and is kept even if they are not used
    is_update : part of an optimizer's step, which a program runs apart from backward
    is_random : draws from the run's random key
    labels : the input, if any, whose elements number the columns of the first input; a program
        checks them before it runs
    layout : how it wants images to lie: "any", "channels", "plain" or "as it is"
        (fastnn/_compiler/layout.py)
    is_activation : y = f(x) with f by the attribute `kind`; a node before it may take it over
    is_activation_gradient : dx = dy f'(x), of the inputs dy and y, likewise
    takes_activation : its kernel can apply an activation to its first output, told by the
        attributes `activation` and `slope`
    differentiates_activation : a backward operator whose kernel finds the gradient of the
        activation that its forward node took, told likewise, from what it reads in any case
    takes_scale : the first output is linear in the inputs 1 and 2, weight and bias, so that a scale
        and a shift of its channels can go into them
    """

    name = ""
    in_place: tuple[tuple[int, int], ...] = ()
    is_view = False
    reads_beyond: tuple[int, ...] = ()
    updates_state = False
    is_update = False
    is_random = False
    labels: int | None = None
    layout = "any"
    is_activation = False
    is_activation_gradient = False
    takes_activation = False
    differentiates_activation = False
    takes_scale = False

    def infer(self, node: Node) -> list[Spec]:
        """The outputs' shapes; ValueError where the inputs don't fit."""
        raise TypeError(f"{self.name}: no shape rule")

    def backward(self, node: Node, gradients: list[Value | None]) -> list[Value | None]:
        """Records the backward nodes and returns the gradient of each input, or None."""
        raise ValueError(f"{self.name}: not differentiable")

    def lower(self, node: Node) -> list[Call]:
        """The kernels that compute it."""
        raise TypeError(f"{self.name}: no kernel")

    def inputs_read_beyond(self, node: Node) -> tuple[int, ...]:
        """`reads_beyond`, or fewer where the sizes of a node allow it."""
        return self.reads_beyond

    def skip_outputs(self, node: Node, unread: set[int]) -> None:
        """Spares a node those of the outputs, which nobody reads, that its kernel can leave out."""

    def take_activation_gradient(self, node: Node, y: Value) -> bool:
        """Whether the kernel can multiply its first output by the gradient of the activation that
        gave y; if y is not among the node's operands yet, it is now.
        """
        return False

    def fold_into(self, node: Node, layer: Node) -> Node | None:
        """A node that gives the layer before this one the weight and the bias that do what both do;
        None if this is no scale and shift of channels.
        """
        return None

    def least_batch(self, node: Node) -> int:
        """The smallest batch that makes sense."""
        return 1

    def flops(self, node: Node) -> int:
        """Floating-point operations of the definition: for one example, or where nothing is batched
        for all.
        """
        return sum(value.example_size for value in node.outputs[:1])


def same(value: Value, **changes: Any) -> Spec:
    """The spec of a value, perhaps with changes."""
    spec = Spec(value.example_shape, value.dtype, value.batched, value.layout)
    return spec._replace(**changes) if changes else spec


def shape_of(value: Value | None) -> tuple[int, ...] | None:
    """For messages about operands that may be absent."""
    return None if value is None else value.example_shape


def require(condition: bool, message: str) -> None:
    """A shape rule's check."""
    if not condition:
        raise ValueError(message)


def require_image(x: Value) -> tuple[int, ...]:
    """The shape rule's check that there are images; their (height, width)."""
    require(
        len(x.example_shape) == 3 and x.batched,
        f"got {x!r}, expected (batch, channels, height, width)",
    )
    return x.example_shape[:2]
