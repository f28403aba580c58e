"""TrainingStep: forward, backward and update of a network, compiled into one program."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array, whole
from fastnn._compiler import CompiledFunction, compile_training
from fastnn._compiler.graph import Graph
from fastnn._compiler.lower import LoweredGraph
from fastnn._compiler.trace import flatten_structure, rebuild_structure
from fastnn._core.aligned import address_of
from fastnn._core.epoch import run_epoch
from fastnn._core.rounds import Feed
from fastnn.datasets._augment import Augment, check_images
from fastnn.nn.execution import (
    as_array,
    input_spec,
    layer_names,
    map_data,
    modes_of,
    state_of,
    working_dtype,
)
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter, ensure_gradients
from fastnn.nn.version import LayoutVersion, StructureVersion
from fastnn.optim.optimizer import Optimizer
from fastnn.random import new_seed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class TrainingStep:
    """The four lines of the course, compiled: sample, forward, backward, update.

    ``step(x, y)`` is forward, backward and update in one call; ``step.epoch`` is an epoch in one
    call. Nothing is allocated in a step, and the interpreter is free while it runs.

    Parameters
    ----------
    model : Module
    loss : Module
        Called with the model's output and the target; must give one number.
    optimizer : Optimizer or None
        None for a step that only measures the loss (see `fastnn.Trainer.evaluate`).
    max_grad_norm : float, optional
        The gradients of what the optimizer trains are scaled so that their joint 2-norm is at most
        this.

    Attributes
    ----------
    data_loss : float
        The loss of the last batch.
    regularization_loss : float
        One half of weight decay times the squared weights, of the weights as they are now.
    loss : float
        The sum of both.
    grad_norm : float or None
        The norm before clipping of the last update, where there is clipping.

    Raises
    ------
    TypeError
        If `model`, `loss` or `optimizer` is not what it should be.
    ValueError
        If `max_grad_norm` is not above 0.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn, optim
    >>> fastnn.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.5))
    >>> x = np.random.default_rng(0).normal(size=(64, 2))
    >>> y = (x[:, 0] > 0).astype(int)
    >>> first = step(x, y)
    >>> for _ in range(50):
    ...     last = step(x, y)
    >>> last < first
    True
    """

    def __init__(
        self,
        model: Module,
        loss: Module,
        optimizer: Optimizer | None = None,
        max_grad_norm: float | None = None,
    ):
        for name, value in (("model", model), ("loss", loss)):
            if not isinstance(value, Module):
                raise TypeError(f"{name}: got {type(value).__name__}, expected a fastnn.nn.Module")
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"optimizer: got {type(optimizer).__name__}, expected one of fastnn.optim"
            )
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"got max_grad_norm={max_grad_norm}, expected a number above 0")
        self.model, self.loss_function, self.optimizer = model, loss, optimizer
        self.max_grad_norm = max_grad_norm
        self._seed = new_seed()
        self._forget()

    def _forget(self) -> None:
        """As if nothing had been compiled yet."""
        self._programs: dict[Hashable, CompiledFunction] = {}
        self._state: Hashable = None
        self._versions = (-1, -1)
        self._modes: Hashable = None
        self._current: CompiledFunction | None = None
        self._options: list[tuple[Any, ...]] = []
        self._phase = "new"

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code points into memory; copies and pickles make it again when they need it.
        kept = ("model", "loss_function", "optimizer", "max_grad_norm", "_seed")
        return {name: vars(self)[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    # -- compiling ------------------------------------------------------------------------------

    def _prepare(
        self, inputs: Any, targets: Any, batch: int | None = None, measures: bool = False
    ) -> list[NDArray]:
        """The arrays of a call, with `_current` the program for them.

        Where there is nothing but to measure (and no optimizer whose program would do that too),
        it has no backward pass.
        """
        if type(inputs) is np.ndarray and type(targets) is np.ndarray:
            arrays = [inputs, targets]
        else:
            inputs, targets = map_data(to_array, inputs), map_data(to_array, targets)
            arrays = [as_array(leaf) for leaf in flatten_structure([inputs, targets])]
        versions = (StructureVersion.count, LayoutVersion.count)
        if versions != self._versions:
            self._refresh()
        first, last = arrays[0], arrays[-1]
        with_gradients = not measures or self.optimizer is not None
        key: Hashable
        if len(arrays) == 2:
            key = (self._modes, with_gradients, first.shape[1:], last.shape[1:], last.dtype.kind)
        else:
            shapes = [(array.shape[1:], array.dtype.kind) for array in arrays]
            key = (self._modes, with_gradients, *shapes)
        compiled = self._programs.get(key)
        batch = batch or (len(first) if first.ndim else 0)
        if compiled is None or batch > compiled.capacity or compiled.is_stale():
            compiled = self.compile(
                inputs, targets, arrays, max(batch, 1), with_gradients=with_gradients
            )
            self._programs[key] = compiled
        if compiled is not self._current or self._options_changed():
            self._current = compiled
            self._send_options()
        return arrays

    def _prepare_epoch(
        self, inputs: Any, targets: Any, indices: Any, batch_size: int, measures: bool = False
    ) -> list[NDArray]:
        """As `_prepare`, for batches of all rows, or of those that `indices` names."""
        inputs = map_data(to_array, inputs)
        first = as_array(flatten_structure(inputs)[0])
        total = len(first) if indices is None else len(np.atleast_1d(indices))
        return self._prepare(inputs, targets, min(batch_size, max(1, total)), measures)

    def _refresh(self) -> None:
        """Binds the parameters to the optimizer's buffer; forgets programs that no longer hold."""
        parameters = list(self.model.parameters())
        if isinstance(self.loss_function, Module):
            known = {id(p) for p in parameters}
            parameters += [p for p in self.loss_function.parameters() if id(p) not in known]
        check_one_dtype(parameters)
        if self.optimizer is not None and parameters:
            self.optimizer.bind(parameters)
        ensure_gradients(p for p in parameters if p.requires_grad)
        state = self._state_now()
        if state != self._state:
            self._programs.clear()
            self._current = None
            self._state = state
        self._modes = modes_of(self.model)
        self._versions = (StructureVersion.count, LayoutVersion.count)

    def _state_now(self) -> Hashable:
        """What a program depends on, besides the modes."""
        members = self.optimizer.members() if self.optimizer is not None else ()
        return (state_of(self.model), state_of(self.loss_function), members)

    def _require_same_model(self, what: str) -> None:
        """RuntimeError if the program of the last forward computes on what is no longer the model.

        Then it would read and write where the parameters once were.
        """
        if (StructureVersion.count, LayoutVersion.count) == self._versions:
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
        names = ["input"] if count == 1 else [f"input {i}" for i in range(count)]
        rest = len(arrays) - count
        names += ["target"] if rest == 1 else [f"target {i}" for i in range(rest)]

        def loss_of(*values: Any) -> Any:
            x, y = rebuild_structure([inputs, targets], values)
            return self.loss_function(self.model(x), y)

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
            {**layer_names(self.loss_function, "loss"), **layer_names(self.model)},
            record,
            keep_all,
            with_gradients,
        )
        lowered = compiled.lowered
        check_registered(lowered.graph, [self.model, self.loss_function])
        address = address_of(lowered.arena)
        offsets, graph = lowered.plan.offsets, lowered.graph
        statistics = graph.metrics.get("statistics")
        lowered.program.watch(
            address + offsets[graph.outputs[0]],
            0 if statistics is None else address + offsets[statistics],
            dtype == np.float64,
        )
        lowered.program.seed(self._seed)
        return compiled

    def _current_options(self) -> list[tuple[Any, ...]]:
        if self.optimizer is None:
            return []
        return [
            tuple(group[name] for name in self.optimizer.scalars)
            for group in self.optimizer.param_groups
        ]

    def _options_changed(self) -> bool:
        return self._current_options() != self._options

    def _send_options(self) -> None:
        """Gives the current program the numbers of the optimizer's groups."""
        options = self._current_options()
        if self.optimizer is None or self._current is None:
            return
        for group in self.optimizer.param_groups:
            self.optimizer.check_options(group)
        self._options = options
        for index, node in enumerate(self._current.lowered.step_nodes):
            group_number = node.attributes.get("group")
            if group_number is not None:
                for slot, value in enumerate(options[group_number]):
                    self._current.lowered.program.set_scalar(index, slot, value)

    # -- running --------------------------------------------------------------------------------

    def __call__(self, inputs: ArrayLike, targets: ArrayLike) -> float:
        """Forward, backward and update with one batch; returns the data loss."""
        arrays = self._prepare(inputs, targets)
        self._require_optimizer()
        self._phase = "updated"
        assert self._current is not None
        return self._current.lowered.program.train_step(*arrays)

    def forward(self, inputs: ArrayLike, targets: ArrayLike) -> float:
        """Computes the data loss of one batch and returns it."""
        self._phase = "new"
        arrays = self._prepare(inputs, targets)
        program = self._lowered.program
        program.load(0, *arrays)
        program.forward()
        self._phase = "forward"
        return program.read_loss()

    def backward(self) -> None:
        """Computes the gradients of the batch of the last `forward`, into ``parameter.grad``.

        Raises
        ------
        RuntimeError
            Without a `forward` before it, or if the model has changed since.
        """
        if self._phase != "forward":
            raise RuntimeError("backward() was called without a forward(x, y) before it")
        self._require_same_model("backward()")
        self._lowered.program.backward()
        self._phase = "backward"

    def update(self) -> None:
        """Changes the parameters by the gradients of the last `backward`.

        Raises
        ------
        RuntimeError
            Without a `backward` before it, or if the model has changed since `forward`.
        """
        self._require_optimizer()
        if self._phase != "backward":
            raise RuntimeError("update() was called without a backward() before it")
        self._require_same_model("update()")
        if self._options_changed():
            self._send_options()
        self._lowered.program.update()
        self._phase = "updated"

    def epoch(
        self,
        X: ArrayLike,
        y: ArrayLike,
        indices: ArrayLike | None = None,
        batch_size: int = 64,
        callback: Callable[..., None] | None = None,
        augment: Augment | None = None,
    ) -> float:
        """An epoch of training in one call, without the interpreter.

        Parameters
        ----------
        X, y : all examples
        indices : array of int, optional
            Which rows to take and in what order, as a permutation from a random generator. By
            default all, as they come.
        batch_size : int, default=64
            The last batch may be smaller.
        callback : callable, optional
            Called some 30 times a second with (batches, examples, sum of loss * examples, correct
            rows, rows that count), where the last two are zero for a loss without labels.
        augment : fastnn.datasets.Augment, optional
            What is done to the images X, of uint8, differently in each epoch.

        Returns
        -------
        float
            The mean loss over the examples.

        Raises
        ------
        TrainingDiverged
            If the loss of a batch is NaN or infinite. The parameters are those of a moment before,
            for which the loss was finite.
        """
        from fastnn.training.divergence import run_guarded  # which uses TrainingStep

        self._require_optimizer()
        augmentation = None
        if augment is not None:
            X = check_images(X)
            augmentation = augment.compiled(X, self.model.dtype, new_seed())
        result = run_guarded(self, X, y, indices, batch_size, callback, augmentation)
        return result.loss

    def measure(
        self,
        X: ArrayLike,
        y: ArrayLike,
        batch_size: int = 64,
        callback: Callable[..., None] | None = None,
    ) -> tuple:
        """Forward over all examples, without an update.

        Parameters
        ----------
        X, y : all examples
        batch_size : int, default=64
        callback : callable, optional
            As in `epoch`.

        Returns
        -------
        batches, examples : int
        loss_sum : float
            Sum of loss * examples.
        correct, counted : float
            Rows, for a loss with labels.
        finite : bool
        """
        arrays = self._prepare_epoch(X, y, None, whole("batch_size", batch_size, 1), measures=True)
        self._phase = "measured"
        return run_epoch(self._lowered.program, arrays, None, batch_size, False, callback)

    @property
    def _lowered(self) -> LoweredGraph:
        """The program of the last batch."""
        if self._current is None:
            raise RuntimeError("no batch has been run yet")
        return self._current.lowered

    def feed(self, X: ArrayLike, y: ArrayLike, batch_size: int = 64) -> Feed:
        """The data and the program of `epoch` or `measure`, for loops that run very many.

        What an epoch depends on (shapes, the model's mode and structure, the optimizer's options)
        is looked at here, once; the model must not be changed while the result is in use.

        Parameters
        ----------
        X, y : all examples
        batch_size : int, default=64

        Returns
        -------
        Feed
            What ``fastnn._core.rounds.run_rounds`` takes.
        """
        arrays = self._prepare_epoch(X, y, None, batch_size, measures=True)
        self._phase = "updated" if self.optimizer is not None else "measured"
        return Feed(self._lowered.program, arrays, batch_size)

    def _require_optimizer(self) -> None:
        if self.optimizer is None:
            raise RuntimeError("this TrainingStep has no optimizer: it can only measure a loss")

    # -- what happened --------------------------------------------------------------------------

    @property
    def data_loss(self) -> float:
        """The loss of the last batch."""
        return self._lowered.program.read_loss()

    @property
    def regularization_loss(self) -> float:
        """One half of weight decay times the squared weights, as they are now."""
        return self.optimizer.regularization_loss() if self.optimizer is not None else 0.0

    @property
    def loss(self) -> float:
        """Data loss and regularization loss together."""
        return self.data_loss + self.regularization_loss

    @property
    def grad_norm(self) -> float | None:
        """The joint norm of the gradients at the last update, before clipping."""
        if self._current is None or "grad_norm" not in self._current.lowered.graph.metrics:
            return None
        lowered = self._current.lowered
        return float(lowered.view(lowered.graph.metrics["grad_norm"])[0])


def check_registered(graph: Graph, modules: Sequence[Any]) -> None:
    """TypeError if `forward` computed with a parameter that no module knows: it would not train."""
    known = {
        id(parameter)
        for module in modules
        if isinstance(module, Module)
        for parameter in module.parameters()
    }
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
