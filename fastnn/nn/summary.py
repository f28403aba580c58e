"""Summary: a network's layers, shapes, parameters, operations and memory as a table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from fastnn._compiler import compile_function
from fastnn._compiler.graph import Spec
from fastnn._compiler.layout import seen_shape
from fastnn.nn.execution import layer_names

if TYPE_CHECKING:
    from fastnn.nn.module import Module


@dataclasses.dataclass(frozen=True)
class Layer:
    """A row of the table."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `Module.summary` returns; prints as a table.

    Attributes
    ----------
    layers : list of Layer
    parameters : int
        All parameters, each counted once.
    flops : int
        Floating-point operations of a forward pass with one example.
    memory_bytes : int
        Memory that the plan of a forward pass takes besides the parameters.
    batch_size : int
    """

    layers: list[Layer]
    parameters: int
    flops: int
    memory_bytes: int
    batch_size: int

    def __str__(self) -> str:
        header = ("layer", "kind", "output shape", "parameters", "FLOPs")
        rows = [
            (
                layer.name,
                layer.kind,
                str(("batch", *layer.output_shape)).replace("'", ""),
                f"{layer.parameters:,}",
                f"{layer.flops:,}",
            )
            for layer in self.layers
        ]
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [
            "  ".join(
                cell.rjust(width) if i >= 3 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in [header, *rows]
        ]
        lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
        lines += [
            lines[1],
            f"parameters: {self.parameters:,}",
            f"FLOPs of an example, forward: {self.flops:,}",
            f"memory of the plan, batch {self.batch_size}: {self.memory_bytes / 1024:,.1f} KiB",
        ]
        return "\n".join(lines)

    __repr__ = __str__


def summarize(module: Module, input_shape: tuple[int, ...], batch_size: int) -> Summary:
    """Traces a module for inference and counts."""
    with module.evaluating():
        dtype = np.dtype(module.dtype).name
        compiled = compile_function(
            module,
            [Spec(input_shape, dtype)],
            ["input"],
            dtype,
            batch_size,
            layer_names(module),
            fold=False,
        )
    graph = compiled.lowered.graph
    by_layer: dict[str, list] = {}
    for node in graph.nodes:
        by_layer.setdefault(node.layer, []).append(node)
    parts = dict(module.named_modules())
    layers = []
    for name, nodes in by_layer.items():
        part = parts.get("" if name == type(module).__name__ else name)
        own = [] if part is None else [p for p in vars(part).values() if hasattr(p, "storage")]
        layers.append(
            Layer(
                name,
                type(part).__name__ if part is not None else "",
                seen_shape(nodes[-1].outputs[0]),
                sum(parameter.size for parameter in own),
                sum(node.operator.flops(node) for node in nodes),
            )
        )
    return Summary(
        layers,
        sum(parameter.size for parameter in module.parameters()),
        sum(layer.flops for layer in layers),
        compiled.lowered.memory_bytes(),
        batch_size,
    )
