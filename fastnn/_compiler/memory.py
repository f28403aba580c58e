"""Plan memory: where in one arena each value lies, so that a step allocates nothing.

    time ─▶   0   1   2   3   4   5
    offset  ┌───────┐   ┌───────────┐
       │    │ x1    │   │ dx2       │      two values may overlap in memory
       ▼    ├───────┴───┴───┬───────┤      only if they don't overlap in time
            │ x2            │ dx1   │
            └───────────────┴───────┘

Values that share memory by nature (a view and its source, an operator's output in place of an
input that nobody reads again) form one group, planned as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fastnn._compiler.graph import Graph, Value
from fastnn._core.aligned import CACHE_LINE, LARGE_BYTES, PAGE_BYTES, SLACK_BYTES


@dataclass(eq=False)
class Group:
    """Values in one piece of memory; `fixed` if that is not the arena's to give.

    `first` and `last` are the nodes between which it is alive; last is -1 if none uses it.
    """

    values: list[Value] = field(default_factory=list)
    fixed: bool = False
    first: int = 0
    last: int = -1
    size: int = 0


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in bytes of the values that lie in the arena, its size, and who lies with whom."""

    offsets: dict[Value, int]
    arena_bytes: int
    representative: dict[Value, Value]


def plan_memory(
    graph: Graph, capacity: int, itemsizes: dict[str, int], fixed: Iterable[Value], keep_all: bool
) -> MemoryPlan:
    """Offsets for a largest batch of `capacity`.

    Parameters
    ----------
    fixed : values whose memory is given: results that are written to the caller's arrays or to a
        parameter's gradient
    keep_all : no memory is used twice, so that every value can be looked at after a run
    """
    groups = share_memory(graph, set(fixed), keep_all)
    measure(graph, groups, capacity, itemsizes, keep_all)
    placed: list[tuple[int, Group]] = []
    offsets: dict[Value, int] = {}
    arena_bytes = 0
    unique = {id(group): group for group in groups.values() if not group.fixed}
    for group in sorted(unique.values(), key=lambda g: (-g.size, g.first)):
        offset = arena_bytes if keep_all else lowest_offset(group, placed)
        placed.append((offset, group))
        arena_bytes = max(arena_bytes, offset + group.size)
        offsets.update(dict.fromkeys(group.values, offset))
    representative = {value: group.values[0] for value, group in groups.items()}
    return MemoryPlan(offsets, arena_bytes, representative)


def share_memory(graph: Graph, fixed: set[Value], keep_all: bool) -> dict[Value, Group]:
    """Which values lie in the same memory."""
    groups: dict[Value, Group] = {}
    last_read = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
    results = graph.results()
    computed_once = set(graph.nodes[: graph.constant_count])

    def group_of(value: Value) -> Group:
        if value not in groups:
            is_given = value in fixed or value.producer is None
            groups[value] = Group([value], is_given)
        return groups[value]

    def join(value: Value, group: Group) -> None:
        group.values.append(value)
        groups[value] = group

    def dies_here(group: Group, index: int) -> bool:
        node = graph.nodes[index]
        if node not in computed_once and any(v.producer in computed_once for v in group.values):
            return False  # the next run reads it again
        return all(last_read.get(v, -1) <= index and v not in results for v in group.values)

    for index, node in enumerate(graph.nodes):
        for value in node.inputs:
            if value is not None:
                group_of(value)
        if node.operator.is_view:
            join(node.outputs[0], group_of(node.inputs[0]))
            continue
        for output, source in node.operator.in_place:
            value, given = node.outputs[output], group_of(node.inputs[source])
            if (
                not keep_all
                and value not in fixed
                and value not in groups
                and not given.fixed
                and same_memory(value, node.inputs[source])
                and dies_here(given, index)
                and node.inputs.count(node.inputs[source]) == 1
            ):
                join(value, given)
        for value in node.outputs:
            group_of(value)
    return groups


def same_memory(a: Value, b: Value) -> bool:
    """Whether two values take the same number of bytes at any batch."""
    return a.example_size == b.example_size and a.dtype == b.dtype and a.batched == b.batched


def measure(
    graph: Graph,
    groups: dict[Value, Group],
    capacity: int,
    itemsizes: dict[str, int],
    keep_all: bool,
) -> None:
    """Sets when each group is alive and how much memory it takes."""
    end = len(graph.nodes)
    results = graph.results()
    # What is computed once is read at every run.
    results.update(value for node in graph.nodes[: graph.constant_count] for value in node.outputs)
    for index, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                group = groups[value]
                if group.last < 0:
                    group.first = index
                group.last = index
    for value, group in groups.items():
        if group.fixed:
            continue
        if keep_all or value in results:
            group.last = end
        if keep_all:
            group.first = 0
        examples = capacity if value.batched else 1
        size = value.example_size * examples * itemsizes[value.dtype] + SLACK_BYTES
        alignment = PAGE_BYTES if size >= LARGE_BYTES else CACHE_LINE
        group.size = max(group.size, -(-size // alignment) * alignment)


def lowest_offset(group: Group, placed: list[tuple[int, Group]]) -> int:
    """The lowest offset at which a group meets none that is alive at the same time."""
    neighbours = sorted(
        (offset, other.size)
        for offset, other in placed
        if not (other.last < group.first or group.last < other.first)
    )
    candidate = 0
    for offset, size in neighbours:
        if candidate + group.size <= offset:
            break
        candidate = max(candidate, offset + size)
    return candidate
