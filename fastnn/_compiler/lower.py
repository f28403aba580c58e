"""Lower: from a graph and a memory plan to the flat list of steps that a Program runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastnn._compiler.graph import Buffer, Graph, Input, Node, Value
from fastnn._compiler.memory import MemoryPlan, plan_memory
from fastnn._compiler.operators.base import ITEMSIZES, Size
from fastnn._core.aligned import (
    HUGE_PAGE_BYTES,
    LARGE_BYTES,
    PAGE_BYTES,
    address_of,
    aligned_empty,
    aligned_zeros,
)
from fastnn._core.dispatch import kernels
from fastnn._core.external import External
from fastnn._core.program import ABSENT, ADDRESS, ARENA, EXTERNAL, Program


class LoweredStep(NamedTuple):
    """A kernel with operands that have addresses: (kind, value), see fastnn._core.program."""

    name: str
    kernel: Any
    data: list[tuple[int, int]]
    sizes: list[Size]
    scalars: list[float]
    nanoseconds: Size
    workspace_per_thread: int


@dataclass(frozen=True)
class LoweredGraph:
    """A Program and where to find a graph's values in it."""

    graph: Graph
    program: Program
    plan: MemoryPlan
    arena: np.ndarray
    externals: dict[Value, int]
    step_nodes: list[Node]
    workspace_bytes: int
    is_random: bool

    def view(self, value: Value) -> np.ndarray:
        """A value's memory in the arena, at the current batch: overwritten by the next run."""
        shape = (self.program.batch, *value.example_shape) if value.batched else value.example_shape
        dtype = np.dtype(value.dtype)
        start = self.plan.offsets[value]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self.arena[start : start + size].view(dtype).reshape(shape)

    def taps(self, values: Sequence[Value], examples: int) -> list[tuple[int, int, np.ndarray]]:
        """What `Program.tap` takes, to copy the first examples of forward values to new arrays.

        The values are batched, and computed.
        """
        last_step = {v: i for i, node in enumerate(self.step_nodes) for v in node.outputs}
        return [
            (last_step[v], self.plan.offsets[v], np.zeros((examples, *v.example_shape), v.dtype))
            for v in values
        ]

    def memory_bytes(self) -> int:
        """What the program takes besides parameters, gradients and the caller's arrays."""
        return self.plan.arena_bytes + self.workspace_bytes


def lower(
    graph: Graph,
    capacity: int,
    threads: int,
    given: dict[Value, np.ndarray],
    results: Sequence[Value] = (),
    keep_all: bool = False,
) -> LoweredGraph:
    """The program of a graph.

    Parameters
    ----------
    graph : after all passes
    capacity : the largest batch
    threads : the largest team
    given : value -> array, of results that go to memory that is there already
    results : values that are written to arrays bound at each run; they come after the inputs
    keep_all : plan no memory twice, to look at every value after a run
    """
    plan = plan_memory(graph, capacity, ITEMSIZES, [*given, *results], keep_all)
    externals = {value: i for i, value in enumerate([*graph.inputs, *results])}
    arena = aligned_zeros(plan.arena_bytes, np.uint8)
    calls = [(node, call) for node in graph.nodes for call in node.operator.lower(node)]
    nodes = [node for node, _ in calls]
    places = Places(plan, externals, given)
    table = kernels(graph.dtype)
    # The same for all steps: a thread's workspace stays in the cache of its core.
    per_thread = max([in_pages(call.workspace_per_thread, capacity) for _, call in calls] or [0])
    shared = max([in_pages(call.shared_workspace, capacity) for _, call in calls] or [0])
    distance = distance_of_workspaces(per_thread)
    steps = [
        LoweredStep(
            call.kernel,
            table[call.kernel],
            [places.of(value) for value in call.data],
            [size if isinstance(size, Size) else Size(constant=size) for size in call.sizes],
            call.scalars,
            call.nanoseconds,
            distance,
        )
        for _, call in calls
    ]
    program = Program(
        steps,
        segments(graph, nodes),
        [external(graph, value) for value in externals],
        arena,
        # Not of zeros, which would cost more than a short training.
        aligned_empty(distance * threads + shared, np.uint8),
        capacity,
        threads,
        places.keep_alive,
    )
    keep_constants(program, graph, nodes)
    for node in nodes:
        least = node.operator.least_batch(node)
        if least > 1:
            program.require_batch(least, f"layer {node.layer!r} ({node.operator.name}) in training")
    is_random = any(node.operator.is_random for node in nodes)
    workspace = per_thread * threads + shared
    return LoweredGraph(graph, program, plan, arena, externals, nodes, workspace, is_random)


class Places:
    """Where each value lies, as a step says it: (kind, value).

    Parameters
    ----------
    plan : of the arena
    externals : value -> number, of those in arrays of the caller's
    given : value -> array, of results that go to memory that is there already

    Attributes
    ----------
    keep_alive : what owns the memory outside of the arena that steps point to
    """

    def __init__(
        self, plan: MemoryPlan, externals: dict[Value, int], given: dict[Value, np.ndarray]
    ):
        self.plan, self.externals, self.given = plan, externals, given
        self.keep_alive: list[Any] = list(given.values())
        self.known: dict[Value | None, tuple[int, int]] = {None: (ABSENT, 0)}

    def of(self, value: Value | None) -> tuple[int, int]:
        """Where a value lies; None is an operand that is absent."""
        if value not in self.known:
            assert value is not None
            self.known[value] = self.locate(value)
        return self.known[value]

    def locate(self, value: Value) -> tuple[int, int]:
        """Where a value lies that was not asked for before."""
        holder = self.plan.representative.get(value, value)
        if holder in self.externals:
            return EXTERNAL, self.externals[holder]
        if holder in self.given:
            return ADDRESS, address_of(self.given[holder])
        if value in self.plan.offsets:
            return ARENA, self.plan.offsets[value]
        source = holder.source
        array = source.array if isinstance(source, Buffer) else source.storage
        self.keep_alive.append(array)
        return ADDRESS, address_of(array)


def keep_constants(program: Program, graph: Graph, nodes: list[Node]) -> None:
    """Tells the program what it runs once, and of what values that is made."""
    constant = set(graph.nodes[: graph.constant_count])
    read = {v for node in constant for v in node.inputs if v is not None and v.source is not None}
    sources = [value.source for value in graph.sources() if value in read]
    program.keep_constants(
        sum(node in constant for node in nodes),
        [
            (source.storage, source.own_views())
            for source in sources
            if not isinstance(source, Buffer)
        ],
        [source.array for source in sources if isinstance(source, Buffer)],
    )


def segments(graph: Graph, nodes: list[Node]) -> tuple[int, int, int]:
    """How many steps belong to forward, backward and update."""
    forward = set(graph.nodes[: graph.forward_count])
    counts = [0, 0, 0]
    for node in nodes:
        counts[0 if node in forward else 2 if node.operator.is_update else 1] += 1
    return counts[0], counts[1], counts[2]


def in_pages(wanted: Size | int, capacity: int) -> int:
    """A workspace in whole pages."""
    count = wanted.at(capacity) if isinstance(wanted, Size) else wanted
    return -(-int(count) // PAGE_BYTES) * PAGE_BYTES


def distance_of_workspaces(per_thread: int) -> int:
    """From a thread's workspace to that of the next.

    Large ones lie in huge pages of their own. Where two cores write in one page, even to lines far
    from each other, each may take half as long again if the cores share no cache. What lies
    between is never touched.
    """
    return per_thread + HUGE_PAGE_BYTES if per_thread >= LARGE_BYTES else per_thread


def external(graph: Graph, value: Value) -> External:
    """How an array of the caller's is checked."""
    name = value.source.name if isinstance(value.source, Input) else "output"
    classes, ignore_index = 0, 0
    for node in graph.nodes:
        labels = node.operator.labels
        if labels is not None and node.inputs[labels] is value:
            classes = node.inputs[0].columns
            ignore_index = node.attributes.get("ignore_index", 0)  # 0 is a label like any other
    return External(name, value.example_shape, value.dtype, value.batched, classes, ignore_index)
