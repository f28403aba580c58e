"""The passes in order: for inference, for gradients of outputs, for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._compiler.autodiff import differentiate
from fastnn._compiler.constants import fold_batchnorms, hoist_constants
from fastnn._compiler.fuse import (
    copy_borrowed,
    fuse_activation_gradients,
    fuse_activations,
    own_results,
    remove_unused,
    skip_unread_outputs,
)
from fastnn._compiler.graph import LABEL_DTYPE, Buffer, Graph, Spec, Value
from fastnn._compiler.lower import LoweredGraph, lower
from fastnn._compiler.operators.convolution import prepare_weights
from fastnn._compiler.trace import trace
from fastnn._core.threads import get_threads


@dataclass(frozen=True)
class CompiledFunction:
    """A program with the structure of what the function returned."""

    lowered: LoweredGraph
    structure: Any
    is_single: bool
    capacity: int
    threads: int

    @property
    def is_random(self) -> bool:
        """Whether a run draws random numbers."""
        return self.lowered.is_random

    def is_stale(self) -> bool:
        """Whether more threads are asked for than the workspace was planned for."""
        return get_threads() > self.threads


def compile_function(
    function: Callable[..., Any],
    specs: Sequence[Spec],
    names: Sequence[str],
    dtype: str,
    capacity: int,
    layer_names: dict[int, str],
) -> CompiledFunction:
    """The function alone; results are written to new arrays at each run."""
    graph, structure = trace(function, specs, names, dtype, layer_names)
    graph.largest_batch = capacity
    optimize_inference(graph)
    threads = get_threads()
    lowered = lower(graph, capacity, threads, {}, graph.outputs)
    return CompiledFunction(lowered, structure, isinstance(structure, Value), capacity, threads)


def compile_gradient(
    function: Callable[..., Any],
    specs: Sequence[Spec],
    names: Sequence[str],
    dtype: str,
    capacity: int,
    layer_names: dict[int, str],
) -> CompiledFunction:
    """The function and its vector-Jacobian product.

    After the inputs the program takes one gradient for each output; it writes the gradients of
    parameters to their `gradient`, and keeps those of the inputs.
    """
    graph, structure = trace(function, specs, names, dtype, layer_names)
    inputs = [value for value in graph.inputs if value.dtype != LABEL_DTYPE]
    seeds: dict[Value, Value] = {}
    for i, output in enumerate(graph.outputs):
        spec = Spec(output.example_shape, output.dtype, output.batched)
        seed = graph.input(f"gradient of output {i}", spec)
        seeds[output] = graph.record("add", [seeds[output], seed])[0] if output in seeds else seed
    differentiate(graph, seeds, [*inputs, *trainable(graph)])
    optimize(graph)
    threads = get_threads()
    lowered = lower(graph, capacity, threads, parameter_gradients(graph))
    return CompiledFunction(lowered, structure, isinstance(structure, Value), capacity, threads)


def compile_training(
    function: Callable[..., Any],
    specs: Sequence[Spec],
    names: Sequence[str],
    dtype: str,
    capacity: int,
    layer_names: dict[int, str],
    record_update: Callable[[Graph], None] | None,
    keep_all: bool = False,
    with_gradients: bool = True,
) -> CompiledFunction:
    """A loss, its gradients, and what `record_update` appends to change the parameters."""
    graph, structure = trace(function, specs, names, dtype, layer_names)
    if len(graph.outputs) != 1 or graph.outputs[0].example_shape or graph.outputs[0].batched:
        raise ValueError(
            f"the loss is {graph.outputs}, expected one number: use reduction='mean' or 'sum'"
        )
    if with_gradients:
        one = graph.source(Buffer(np.ones(16, dtype)), ())
        differentiate(graph, {graph.outputs[0]: one}, trainable(graph))
    optimize(graph)
    given = parameter_gradients(graph)
    if record_update is not None:
        record_update(graph)
    threads = get_threads()
    lowered = lower(graph, capacity, threads, given, keep_all=keep_all)
    return CompiledFunction(lowered, structure, True, capacity, threads)


def optimize(graph: Graph) -> Graph:
    """The passes after autodiff, in order."""
    for rewrite in (
        remove_unused,
        skip_unread_outputs,
        fuse_activations,
        fuse_activation_gradients,
        own_results,
        copy_borrowed,
        prepare_weights,
    ):
        rewrite(graph)
    return graph


def optimize_inference(graph: Graph) -> Graph:
    """All passes for a graph without backward nodes: what depends on no input is computed once."""
    return hoist_constants(optimize(fold_batchnorms(remove_unused(graph))))


def trainable(graph: Graph) -> list[Value]:
    """The parameters in a graph that want a gradient."""
    return [value for value in graph.sources() if getattr(value.source, "requires_grad", False)]


def parameter_gradients(graph: Graph) -> dict[Value, np.ndarray]:
    """Where the gradients of parameters are to be written."""
    return {
        gradient: value.source.gradient
        for value, gradient in graph.gradients.items()
        if getattr(value.source, "gradient", None) is not None
    }
