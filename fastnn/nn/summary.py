"""Summary: a network's layers, shapes, parameters, operations and memory as a table.

Layers are told as they are written, before the compiler fuses some of them into others.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import whole
from fastnn._compiler import compile_function
from fastnn._compiler.graph import Node, Spec
from fastnn._compiler.layout import seen_shape
from fastnn._compiler.operators.convolution import Conv2d, algorithm_of
from fastnn._compiler.trace import rebuild_structure, trace
from fastnn._table import table_lines
from fastnn.nn.execution import layer_names, numbered

if TYPE_CHECKING:
    from fastnn.nn.module import Module


@dataclasses.dataclass(frozen=True)
class Layer:
    """A row of the table.

    Attributes
    ----------
    name, kind : str
    output_shape : tuple of int
        Of one example, as users see it: images with channels first.
    parameters : int
        The layer's own, without those of layers inside it.
    flops : int
        Floating-point operations of a forward pass with one example.
    algorithm : str
        What computes a convolution, by the shape of its input; "" for other layers.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int
    algorithm: str = ""


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
        rows: list[tuple[str, ...]] = [
            ("layer", "kind", "output shape", "algorithm", "parameters", "FLOPs")
        ]
        rows += [
            (
                layer.name,
                layer.kind,
                str(("batch", *layer.output_shape)).replace("'", ""),
                layer.algorithm,
                f"{layer.parameters:,}",
                f"{layer.flops:,}",
            )
            for layer in self.layers
        ]
        if not any(layer.algorithm for layer in self.layers):
            rows = [row[:3] + row[4:] for row in rows]
        texts = len(rows[0]) - 2
        (header, *lines), rule = table_lines(rows, [False] * texts + [True, True])
        lines = [
            *(header, rule, *lines, rule),
            f"parameters: {self.parameters:,}",
            f"FLOPs of an example, forward: {self.flops:,}",
            f"memory of the plan, batch {self.batch_size}: {self.memory_bytes / 1024:,.1f} KiB",
        ]
        return "\n".join(lines)

    __repr__ = __str__


def summarize(module: Module, input_shape: Any, batch_size: int) -> Summary:
    """Traces a module for inference and counts."""
    batch_size = whole("batch_size", batch_size, 1, where="summary: ")
    dtype = np.dtype(module.dtype).name
    shapes: list[tuple[int, ...]] = []
    several = isinstance(input_shape, list) and not is_shape(input_shape)
    arguments = input_shape if several else [input_shape]
    structure = [inputs_of_shapes(argument, shapes) for argument in arguments]
    specs = [Spec(shape, dtype) for shape in shapes]
    names = numbered("input", len(specs))

    def call(*values: Any) -> Any:
        return module(*rebuild_structure(structure, values))

    with module.evaluating():
        layers_by_identity = layer_names(module)
        graph, _ = trace(call, specs, names, dtype, layers_by_identity)
        compiled = compile_function(call, specs, names, dtype, batch_size, layers_by_identity)
    layers = layers_of(module, graph.nodes)
    return Summary(
        layers,
        sum(parameter.size for parameter in module.parameters()),
        sum(layer.flops for layer in layers),
        compiled.lowered.memory_bytes(),
        batch_size,
    )


def is_shape(shape: Any) -> bool:
    """Whether it is whole numbers, or nothing: examples that are numbers."""
    return isinstance(shape, (tuple, list)) and all(
        isinstance(size, (int, np.integer)) for size in shape
    )


def inputs_of_shapes(shape: Any, shapes: list[tuple[int, ...]]) -> Any:
    """The structure of a network's inputs with a number for each; their shapes go to `shapes`."""
    if is_shape(shape):
        shapes.append(tuple(whole("input_shape", n, 1, where="summary: ") for n in shape))
        return len(shapes) - 1
    if isinstance(shape, dict):
        return {key: inputs_of_shapes(item, shapes) for key, item in shape.items()}
    if isinstance(shape, (tuple, list)):
        return [inputs_of_shapes(item, shapes) for item in shape]
    raise TypeError(
        f"summary: got input_shape={shape!r}, expected a tuple of whole numbers, or a tuple, dict "
        "or list of such"
    )


def layers_of(module: Module, nodes: list[Node]) -> list[Layer]:
    """A row for each layer that records operators, in the order in which they begin."""
    by_layer: dict[str, list[Node]] = {}
    for node in nodes:
        by_layer.setdefault(node.layer, []).append(node)
    parts = dict(module.named_modules())
    layers = []
    for name, own_nodes in by_layer.items():
        part = parts.get("" if name == type(module).__name__ else name)
        own = [] if part is None else [p for p in vars(part).values() if hasattr(p, "storage")]
        convolutions = [node for node in own_nodes if isinstance(node.operator, Conv2d)]
        layers.append(
            Layer(
                name,
                type(part).__name__ if part is not None else "",
                seen_shape(own_nodes[-1].outputs[0]),
                sum(parameter.size for parameter in own),
                sum(node.operator.flops(node) for node in own_nodes),
                ", ".join(dict.fromkeys(algorithm_of(node).name for node in convolutions)),
            )
        )
    return layers
