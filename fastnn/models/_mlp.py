"""Fully connected networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from fastnn import nn
from fastnn._checks import whole


def mlp(
    widths: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A multilayer perceptron (Rumelhart, Hinton and Williams, 1986).

    Each hidden layer is ``dropout(activation(batch_norm(x @ weight.T + bias)))``, the last one
    linear.

    Parameters
    ----------
    widths : sequence of int
        Features of the input, units of each hidden layer, outputs.
    activation : callable, default=nn.ReLU
        Makes a module for each hidden layer: a class, or a function without arguments.
    batch_norm : bool, default=False
        Whether the hidden layers are normalized before their activation.
    dropout : float, default=0
        Probability with which a hidden unit is dropped.

    Returns
    -------
    Sequential
        From (batch, widths[0]) to (batch, widths[-1]).

    Raises
    ------
    ValueError
        If there are fewer than two widths, or one is no whole number of 1 or more.
    TypeError
        If `activation` is a module, or nothing that makes one.

    Examples
    --------
    >>> from fastnn import models, nn
    >>> models.mlp([784, 100, 10], activation=nn.Tanh, dropout=0.5)
    Sequential(
      (0): Linear(in_features=784, out_features=100, bias=True)
      (1): Tanh()
      (2): Dropout(p=0.5)
      (3): Linear(in_features=100, out_features=10, bias=True)
    )
    """
    if not isinstance(widths, Iterable) or len(widths) < 2:
        raise ValueError(f"mlp: got widths={widths!r}, expected inputs, hidden units, outputs")
    widths = [whole("width", width, 1, where="mlp: ") for width in widths]
    if isinstance(activation, nn.Module) or not callable(activation):
        raise TypeError(
            f"mlp: got activation={activation!r}, expected what makes a module for each layer: a "
            "class such as nn.ReLU, or a function without arguments"
        )
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths[:-1]):
        layers.append(nn.Linear(inputs, outputs))
        if batch_norm:
            layers.append(nn.BatchNorm1d(outputs))
        layers.append(activation())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))
