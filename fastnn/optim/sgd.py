"""Stochastic gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastnn._compiler.graph import Buffer, Graph
from fastnn._compiler.operators.update import SGD_OPTIONS
from fastnn.optim.optimizer import Optimizer, flat


def is_finite_number(value: Any) -> bool:
    """Whether it is a real number (an array of no axes is one too), neither NaN nor infinite."""
    if isinstance(value, (bool, str, type(None))) or np.ndim(value) > 0:
        return False
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it.

    For a gradient g of weights w::

        g = g + weight_decay * w
        v = momentum * v + (1 - dampening) * g        (v = g at the first step)
        w = w - lr * (g + momentum * v  if nesterov else  v)

    Parameters
    ----------
    params : iterable of Parameter or of dict, optional
        What to train; all of the model's parameters by default. Dicts give groups their own
        options: ``[{"params": [...], "lr": 0.01}, ...]``.
    lr : float, default=1e-3
    momentum : float, default=0
    dampening : float, default=0
    weight_decay : float, default=0
        The lambda of the penalty one half lambda w^2 on every weight.
    nesterov : bool, default=False

    Raises
    ------
    ValueError
        For negative options, or Nesterov without momentum or with dampening.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep
    learning, 2013.

    Examples
    --------
    >>> from fastnn import optim
    >>> optimizer = optim.SGD(lr=0.1, momentum=0.9)
    >>> optimizer.lr = 0.01
    >>> optimizer.param_groups[0]["lr"]
    0.01
    """

    scalars = SGD_OPTIONS

    def __init__(
        self,
        params: Iterable[Any] | None = None,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )

    @property
    def lr(self) -> float:
        """Learning rate of the first group; assigning sets that of all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, lr: float) -> None:
        for group in self.param_groups:
            self.check_options({**group, "lr": lr})
        for group in self.param_groups:
            group["lr"] = lr
        self.defaults["lr"] = lr

    def check_options(self, options: Mapping[str, Any]) -> None:
        for name in ("lr", "momentum", "dampening", "weight_decay"):
            value = options[name]
            if not is_finite_number(value):
                raise ValueError(f"SGD: got {name}={value!r}, expected a finite number")
            if value < 0 and name != "dampening":
                raise ValueError(f"SGD: got {name}={value}, expected 0 or more")
        if not isinstance(options["nesterov"], (bool, np.bool_, int)):
            raise ValueError(f"SGD: got nesterov={options['nesterov']!r}, expected True or False")
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError("SGD: Nesterov momentum needs momentum above 0 and no dampening")

    def state_names(self) -> list[str]:
        return ["momentum_buffer"]

    def record_run(self, graph: Graph, number: int, group: dict, run: slice, factor: Any) -> None:
        assert self.buffer is not None
        bounds = self.buffer.bounds(run)
        graph.record(
            "sgd_update",
            [
                flat(graph, self.buffer.values[run]),
                flat(graph, self.state["momentum_buffer"][run]),
                flat(graph, self.buffer.gradients[run]),
                factor,
                graph.source(Buffer(self.steps_taken), (1,), "int64"),
                graph.source(Buffer(bounds), bounds.shape, "int64"),
            ],
            group=number,
            **{name: group[name] for name in self.scalars},
        )
