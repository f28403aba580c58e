"""The compiled programs of a training step, and when one has to be made again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array
from fastnn._compiler import CompiledFunction, compile_training
from fastnn._compiler.graph import Graph
from fastnn._compiler.lower import LoweredGraph
from fastnn._compiler.trace import flatten_structure, rebuild_structure
from fastnn._core.aligned import address_of
from fastnn._core.feed import Feed
from fastnn.nn.execution import (
    as_array,
    input_spec,
    layer_names,
    map_data,
    modes_of,
    numbered,
    state_of,
    working_dtype,
)
from fastnn.nn.parameter import Parameter, ensure_gradients
from fastnn.nn.version import LayoutVersion, StructureVersion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn._core.augmentation import Augmentation
    from fastnn.nn.module import Module
    from fastnn.optim.optimizer import Optimizer


class StepPrograms:
    """Programs of forward, backward and update, by shapes of a batch and modes of the model.

    Parameters
    ----------
    model, loss : Module
    optimizer : Optimizer or None
    max_grad_norm : float or None
    seed : int
        Of what the programs draw at random.

    Attributes
    ----------
    current : CompiledFunction or None
        The program of the last batch.
    versions : (int, int)
        Of structure and layout, when it was last seen that the programs hold.
    """

    def __init__(
        self,
        model: Module,
        loss: Module,
        optimizer: Optimizer | None,
        max_grad_norm: float | None,
        seed: int,
    ):
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.max_grad_norm, self.seed = max_grad_norm, seed
        self.current: CompiledFunction | None = None
        self.versions = (-1, -1)
        self._by_key: dict[Hashable, CompiledFunction] = {}
        self._state: Hashable = None
        self._modes: Hashable = None
        self._options: list[tuple[Any, ...]] = []

    @property
    def lowered(self) -> LoweredGraph:
        """The program of the last batch, and where its values lie."""
        if self.current is None:
            raise RuntimeError("no batch has been run yet")
        return self.current.lowered

    def prepare(
        self, inputs: Any, targets: Any, batch: int | None = None, measures: bool = False
    ) -> list[NDArray]:
        """The arrays of a call, with `current` the program for them.

        Where there is nothing but to measure (and no optimizer whose program would do that too),
        it has no backward pass.
        """
        if type(inputs) is np.ndarray and type(targets) is np.ndarray:
            arrays = [inputs, targets]
        else:
            inputs, targets = map_data(to_array, inputs), map_data(to_array, targets)
            arrays = [as_array(leaf) for leaf in flatten_structure([inputs, targets])]
        versions = (StructureVersion.count, LayoutVersion.count)
        if versions != self.versions:
            self._refresh()
        first, last = arrays[0], arrays[-1]
        with_gradients = not measures or self.optimizer is not None
        key: Hashable
        if len(arrays) == 2:
            key = (self._modes, with_gradients, first.shape[1:], last.shape[1:], last.dtype.kind)
        else:
            shapes = [(array.shape[1:], array.dtype.kind) for array in arrays]
            key = (self._modes, with_gradients, *shapes)
        compiled = self._by_key.get(key)
        batch = batch or (len(first) if first.ndim else 0)
        if compiled is None or batch > compiled.capacity or compiled.is_stale():
            compiled = self.compile(
                inputs, targets, arrays, max(batch, 1), with_gradients=with_gradients
            )
            self._by_key[key] = compiled
        if compiled is not self.current or self._options_now() != self._options:
            self.current = compiled
            self._send_options()
        return arrays

    def feed(
        self,
        inputs: Any,
        targets: Any,
        batch_size: int,
        examples: int | None = None,
        augmentation: Augmentation | None = None,
        earlier: Feed | None = None,
    ) -> Feed:
        """The examples, with the program to run over them by batches.

        Parameters
        ----------
        examples : how many of them an epoch takes, by default all
        augmentation : what is done to the inputs, which are bytes then
        earlier : a feed of the same data; as long as its program holds it serves again, and the
            data are not checked anew
        """
        inputs = map_data(to_array, inputs)
        total = len(as_array(flatten_structure(inputs)[0])) if examples is None else examples
        arrays = self.prepare(inputs, targets, min(batch_size, max(1, total)), measures=True)
        program = self.lowered.program
        if earlier is not None and earlier.program is program:
            return earlier
        return Feed(program, arrays, batch_size, augmentation)

    def _refresh(self) -> None:
        """Binds the parameters to the optimizer's buffer; forgets programs that no longer hold."""
        both = [*self.model.parameters(), *self.loss.parameters()]
        parameters = list({id(parameter): parameter for parameter in both}.values())
        check_one_dtype(parameters)
        if self.optimizer is not None and parameters:
            self.optimizer.bind(parameters)
        ensure_gradients(p for p in parameters if p.requires_grad)
        state = self._state_now()
        if state != self._state:
            self._by_key.clear()
            self.current = None
            self._state = state
        self._modes = modes_of(self.model)
        self.versions = (StructureVersion.count, LayoutVersion.count)

    def _state_now(self) -> Hashable:
        """What a program depends on, besides the modes."""
        members = self.optimizer.members() if self.optimizer is not None else ()
        return (state_of(self.model), state_of(self.loss), members)

    def require_same_model(self, what: str) -> None:
        """RuntimeError if the program of the last forward computes on what is no longer the model.

        Then it would read and write where the parameters once were.
        """
        if (StructureVersion.count, LayoutVersion.count) == self.versions:
            return
        if self._state_now() != self._state:
            raise RuntimeError(
                f"{what}: the model has changed since forward(x, y): its layers, their options, or "
                "where its parameters lie (another optimizer that trains them moves them); call "
                "forward again"
            )

    def compile(
        self,
        inputs: Any,
        targets: Any,
        arrays: Sequence[NDArray],
        capacity: int,
        keep_all: bool = False,
        with_gradients: bool = True,
    ) -> CompiledFunction:
        """The program for arrays like these; `keep_all` to look at every value after a run."""
        dtype = working_dtype(self.model, arrays)
        count = len(flatten_structure(inputs))
        names = numbered("input", count) + numbered("target", len(arrays) - count)

        def loss_of(*values: Any) -> Any:
            x, y = rebuild_structure([inputs, targets], values)
            return self.loss(self.model(x), y)

        record: Callable[[Graph], None] | None = None
        optimizer = self.optimizer
        if optimizer is not None and optimizer.buffer is not None and not keep_all:

            def record(graph: Graph) -> None:
                optimizer.record(graph, self.max_grad_norm)

        compiled = compile_training(
            loss_of,
            [input_spec(array, dtype) for array in arrays],
            names,
            dtype.name,
            capacity,
            {**layer_names(self.loss, "loss"), **layer_names(self.model)},
            record,
            keep_all,
            with_gradients,
        )
        lowered = compiled.lowered
        check_registered(lowered.graph, [self.model, self.loss])
        address = address_of(lowered.arena)
        offsets, graph = lowered.plan.offsets, lowered.graph
        statistics = graph.metrics.get("statistics")
        lowered.program.watch(
            address + offsets[graph.outputs[0]],
            0 if statistics is None else address + offsets[statistics],
            dtype == np.float64,
        )
        lowered.program.seed(self.seed)
        return compiled

    def _options_now(self) -> list[tuple[Any, ...]]:
        if self.optimizer is None:
            return []
        return [
            tuple(group[name] for name in self.optimizer.scalars)
            for group in self.optimizer.param_groups
        ]

    def update_options(self) -> None:
        """Gives the current program the optimizer's options where they have changed."""
        if self._options_now() != self._options:
            self._send_options()

    def _send_options(self) -> None:
        """Gives the current program the numbers of the optimizer's groups."""
        options = self._options_now()
        if self.optimizer is None or self.current is None:
            return
        for group in self.optimizer.param_groups:
            self.optimizer.check_options(group)
        self._options = options
        for index, node in enumerate(self.current.lowered.step_nodes):
            group_number = node.attributes.get("group")
            if group_number is not None:
                for slot, value in enumerate(options[group_number]):
                    self.current.lowered.program.set_scalar(index, slot, value)


def check_registered(graph: Graph, modules: Sequence[Module]) -> None:
    """TypeError if `forward` computed with a parameter that no module knows: it would not train."""
    known = {id(parameter) for module in modules for parameter in module.parameters()}
    for value in graph.sources():
        trains = isinstance(value.source, Parameter) and value.source.requires_grad
        if trains and id(value.source) not in known:
            users = [node.layer for node in graph.nodes if value in node.inputs]
            where = f"layer {users[0]!r}: " if users and users[0] else ""
            raise TypeError(
                f"{where}forward uses a parameter of shape {value.source.shape} that is no part of "
                "the model, so that it would never be trained: layers and parameters have to be "
                "attributes of a module, or members of a ModuleList"
            )


def check_one_dtype(parameters: Sequence[Parameter]) -> None:
    """TypeError if a model mixes precisions."""
    dtypes = {parameter.dtype for parameter in parameters}
    if len(dtypes) > 1:
        names = sorted(map(str, dtypes))
        raise TypeError(f"the model's parameters are of {names}, expected one dtype: use astype")
