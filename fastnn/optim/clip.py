"""Gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fastnn.nn.parameter import Parameter


def clip_grad_norm_(parameters: Iterable[Parameter] | Parameter, max_norm: float) -> float:
    """Scales gradients in place so that their joint norm is at most `max_norm`.

    For the loop that calls ``step.forward``, ``step.backward`` and ``step.update`` apart; a
    `fastnn.TrainingStep` with ``max_grad_norm`` does it in compiled code.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a gradient are passed over.
    max_norm : float
        The 2-norm that is not to be exceeded.

    Returns
    -------
    float
        The norm before clipping.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn, optim
    >>> model = nn.Linear(3, 2)
    >>> step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    >>> loss = step.forward(np.ones((4, 3)), np.array([0, 0, 0, 1]))
    >>> step.backward()
    >>> before = optim.clip_grad_norm_(model.parameters(), 0.01)
    >>> after = sum((parameter.grad**2).sum() for parameter in model.parameters()) ** 0.5
    >>> before > 0.01, round(float(after), 4)
    (True, 0.01)
    >>> step.update()
    """
    if isinstance(parameters, Parameter):
        parameters = [parameters]
    gradients = [p.gradient for p in parameters if p.gradient is not None]
    squares = (float(np.vdot(g, g)) for g in (g.astype(np.float64) for g in gradients))
    norm = math.sqrt(math.fsum(squares))
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:
        for gradient in gradients:
            gradient *= factor
    return norm
