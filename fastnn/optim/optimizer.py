"""What optimizers share: parameter groups with options, and state in flat buffers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._compiler.graph import Buffer, Graph
from fastnn._core.aligned import aligned_zeros
from fastnn.nn.parameter import Parameter, ParameterBuffer, one_buffer
from fastnn.nn.version import LayoutVersion
from fastnn.optim.state import check_shapes, load_state, numbered, options_of, state_dict_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Optimizer:
    """Groups of parameters with their options; a subclass says how one group is updated.

    Parameters
    ----------
    params : iterable of Parameter or of dict, or None
        None means all parameters of the model that it will train. A dict has ``"params"`` and
        options of that group.
    defaults : dict
        Options of the groups that don't give their own.

    Attributes
    ----------
    param_groups : list of dict
        ``{"params": [...], "lr": ..., ...}`` as in PyTorch; options may be changed at any time and
        hold from the next step on.

    Raises
    ------
    TypeError
        If `params` is neither parameters nor groups of them.
    ValueError
        If an option is unknown or outside its range, a parameter is given twice, or none at all.
    """

    #: Options that a kernel takes as numbers at each step, in its order.
    scalars: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Any] | None, defaults: Mapping[str, Any]):
        self.defaults = dict(defaults)
        self.check_options(self.defaults)
        self.buffer: ParameterBuffer | None = None
        self.state: dict[str, NDArray] = {}
        self.steps_taken = aligned_zeros(1, np.int64)
        self.awaited_state: Mapping[str, Any] | None = None
        self.param_groups: list[dict[str, Any]] = []
        if isinstance(params, (int, float)):
            raise TypeError(
                f"{type(self).__name__}: got params={params}, expected parameters or groups of "
                f"them; a learning rate is given by name: lr={params}"
            )
        is_list = isinstance(params, Iterable) and not isinstance(params, (Parameter, Mapping))
        if params is not None and not is_list:
            raise TypeError(
                f"{type(self).__name__}: got params of type {type(params).__name__}, expected a "
                "list of parameters, such as model.parameters(), or of groups of them"
            )
        groups: list[Any] = [] if params is None else list(params)
        self.takes_all = params is None
        if params is None:
            self.param_groups.append({"params": [], **self.defaults})
        elif not groups:
            raise ValueError(f"{type(self).__name__}: got an empty list of parameters")
        elif isinstance(groups[0], Mapping):
            for group in groups:
                self.add_param_group(group)
        else:
            self.add_param_group({"params": groups})

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters with options of their own.

        Parameters
        ----------
        group : dict
            ``{"params": [...], "lr": ..., ...}``; options that are missing are the defaults.
        """
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(
                f"{type(self).__name__}: got {group!r} as a group, expected a dict with 'params'"
            )
        members = group["params"]
        members = [members] if isinstance(members, Parameter) else list(members)
        for member in members:
            if not isinstance(member, Parameter):
                raise TypeError(
                    f"{type(self).__name__}: got {type(member).__name__} among the parameters, "
                    "expected fastnn.nn.Parameter"
                )
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown:
            raise ValueError(f"{type(self).__name__}: unknown options {sorted(unknown)}")
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        for member in members:
            if id(member) in taken:
                raise ValueError(
                    f"{type(self).__name__}: a parameter of shape {member.shape} is given twice, "
                    "in one group or in two"
                )
            taken.add(id(member))
        options = {**self.defaults, **group, "params": members}
        self.check_options(options)
        self.param_groups.append(options)
        LayoutVersion.count += 1

    def members(self) -> tuple[tuple[int, ...], ...]:
        """Identities of each group's parameters: what a compiled update depends on."""
        return tuple(tuple(id(p) for p in group["params"]) for group in self.param_groups)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """ValueError for options outside their range."""

    def bind(self, parameters: list[Parameter]) -> None:
        """Lays those of a model's parameters that it trains into one buffer; room for the state.

        The others stay where they are: two optimizers that train parts of one model by turns must
        not take their parameters from each other. The state of parameters that only moved is kept.
        """
        if self.takes_all:
            self.param_groups[0]["params"] = parameters
        known = {id(parameter) for parameter in parameters}
        for group in self.param_groups:
            if any(id(parameter) not in known for parameter in group["params"]):
                raise ValueError(
                    f"{type(self).__name__}: a parameter group holds parameters that are not the "
                    "model's"
                )
        order = numbered(self)
        if not order:
            return
        buffer = one_buffer(order)
        if self.buffer is not buffer:
            self.carry_state(buffer)
        if self.awaited_state is not None:
            state_dict, self.awaited_state = self.awaited_state, None
            load_state(self, state_dict)

    def carry_state(self, buffer: ParameterBuffer) -> None:
        """New state of the size of a buffer, with what there was for the same parameters."""
        old_buffer, old_state = self.buffer, self.state
        self.buffer = buffer
        self.state = {
            name: aligned_zeros(len(buffer.values), buffer.values.dtype)
            for name in self.state_names()
        }
        if old_buffer is None:
            return
        before, after = old_buffer.stretches(), buffer.stretches()
        for key in before.keys() & after.keys():
            for name in self.state.keys() & old_state.keys():
                self.state[name][after[key]] = old_state[name][before[key]]

    def state_names(self) -> list[str]:
        """Names of the flat arrays that the update needs; PyTorch's where PyTorch has them."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on with a training later: options, and what the updates have kept.

        Returns
        -------
        dict
            ``"param_groups"``: options of each group, its parameters as numbers; ``"state"``:
            number of a parameter -> name -> array, in the shape of the parameter;
            ``"steps_taken"``. PyTorch reads it, once its arrays are tensors.

        Examples
        --------
        >>> import fastnn, numpy as np
        >>> from fastnn import nn, optim
        >>> optimizer = optim.SGD(lr=0.1, momentum=0.9)
        >>> step = fastnn.TrainingStep(nn.Linear(3, 2), nn.CrossEntropyLoss(), optimizer)
        >>> loss = step(np.ones((5, 3)), np.array([0, 1, 1, 0, 1]))
        >>> saved = optimizer.state_dict()
        >>> saved["state"][0]["momentum_buffer"].shape
        (2, 3)
        """
        return state_dict_of(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes up what `state_dict` gave, PyTorch's included.

        An optimizer of all parameters that has met no model yet keeps it until it does.

        Parameters
        ----------
        state_dict : dict
            Of an optimizer with as many groups of as many parameters.

        Raises
        ------
        ValueError
            If groups, numbers of parameters, options or shapes differ; nothing is changed then.
        """
        options = options_of(self, state_dict)
        if self.buffer is not None:
            load_state(self, state_dict)
        else:
            if not self.takes_all:
                check_shapes(self, state_dict)
            self.awaited_state = state_dict
        for group, new in zip(self.param_groups, options, strict=True):
            group.update(new)

    def record(self, graph: Graph, max_grad_norm: float | None) -> None:
        """Appends the update to a training graph.

        Parameters that the loss does not depend on stay as they are (no weight decay either), as
        those without a gradient do in PyTorch.
        """
        assert self.buffer is not None
        reached = {id(value.source) for value in graph.gradients}
        for parameter in self.buffer.parameters:
            if parameter.gradient is not None and id(parameter) not in reached:
                parameter.gradient[...] = 0  # of an earlier program: it must not count in the norm
        factor = None
        if max_grad_norm is not None:
            gradients = flat(graph, self.buffer.gradients)
            squares = graph.record("squared_norm", [gradients])[0]
            factor, norm = graph.record("clip_factor", [squares], max_norm=float(max_grad_norm))
            graph.metrics["grad_norm"] = norm
        for number, group in enumerate(self.param_groups):
            trained = [p for p in group["params"] if p.requires_grad and id(p) in reached]
            for start, stop in self.buffer.runs(trained):
                self.record_run(graph, number, group, slice(start, stop), factor)
        steps = graph.source(Buffer(self.steps_taken), (1,), "int64")
        graph.record("count_step", [steps])

    def record_run(self, graph: Graph, number: int, group: dict, run: slice, factor: Any) -> None:
        """Appends the update of a stretch of the buffer; to be written by each subclass."""
        raise TypeError(f"{type(self).__name__} has no update")

    def regularization_loss(self) -> float:
        """One half of weight decay times the squared weights, over all groups.

        Returns
        -------
        float
        """
        total = 0.0
        for group in self.param_groups:
            decay = group.get("weight_decay", 0.0)
            if decay:
                for parameter in group["params"]:
                    values = parameter.storage.astype(np.float64).ravel()
                    total += 0.5 * decay * float(values @ values)
        return total

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.defaults.items())
        return f"{type(self).__name__}({options})"


def flat(graph: Graph, array: NDArray) -> Any:
    """A stretch of a flat buffer as a value."""
    return graph.source(Buffer(array), array.shape)
