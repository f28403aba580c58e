"""Losses as modules: called with the network's output and the target."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import in_range, to_reals
from fastnn.nn import functional
from fastnn.nn.functional.loss import check_reduction
from fastnn.nn.module import Module

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def fixed(weight: ArrayLike | None) -> NDArray | None:
    """Weights as an array that can't be written to: to change them, assign others.

    A program has a copy, and sees when an attribute is assigned to, not what is written to it.
    """
    if weight is None:
        return None
    array = np.array(to_reals("weight", weight), np.float64)
    array.flags.writeable = False
    return array


class Loss(Module):
    """What losses share: class weights and a reduction.

    Weights are read-only; another array may be assigned to ``weight`` at any time.

    Parameters
    ----------
    weight : array_like or None
    reduction : {'mean', 'sum', 'none'}
    """

    def __init__(self, weight: ArrayLike | None = None, reduction: str = "mean"):
        super().__init__()
        self.weight = fixed(weight)
        self.reduction = check_reduction(reduction)

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class CrossEntropyLoss(Loss):
    """``-log softmax(logits)[label]``.

    Parameters
    ----------
    weight : array_like (classes,), optional
        A factor for each class; 'mean' divides by the sum of the labels' factors.
    ignore_index : int, default=-100
        Rows with this label take no part.
    reduction : {'mean', 'sum', 'none'}, default='mean'
    label_smoothing : float, default=0
        Share of the target that is spread over all classes (Szegedy et al., 2016).

    Raises
    ------
    ValueError
        If `reduction` is unknown, or `label_smoothing` not from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> round(float(nn.CrossEntropyLoss()(np.zeros((1, 10)), np.array([3]))), 4)
    2.3026
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(weight, reduction)
        self.ignore_index = operator.index(ignore_index)
        self.label_smoothing = in_range("label_smoothing", label_smoothing, 0, 1)

    def forward(self, input: Any, target: Any) -> Any:
        return functional.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class MSELoss(Loss):
    """``(input - target)**2``, averaged over all elements.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}, default='mean'

    Raises
    ------
    ValueError
        If `reduction` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> float(nn.MSELoss()(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])))
    2.5
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__(None, reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return functional.mse_loss(input, target, self.reduction)


class BCEWithLogitsLoss(Loss):
    """``-(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x)))``, averaged over all elements.

    Parameters
    ----------
    weight : array_like (columns,), optional
        A factor for each column.
    reduction : {'mean', 'sum', 'none'}, default='mean'
    pos_weight : array_like (columns,), optional
        A factor for the term of positive targets.

    Raises
    ------
    ValueError
        If `reduction` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> round(float(nn.BCEWithLogitsLoss()(np.array([[0.0]]), np.array([[1.0]]))), 4)
    0.6931
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        reduction: str = "mean",
        pos_weight: ArrayLike | None = None,
    ):
        super().__init__(weight, reduction)
        self.pos_weight = fixed(pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        return functional.binary_cross_entropy_with_logits(
            input, target, self.weight, self.pos_weight, self.reduction
        )


class MultiMarginLoss(Loss):
    """``sum over j != label of max(0, margin - x[label] + x[j])**p / classes``: the hinge loss.

    Parameters
    ----------
    p : {1, 2}, default=1
    margin : float, default=1
    weight : array_like (classes,), optional
        A factor for each class.
    reduction : {'mean', 'sum', 'none'}, default='mean'

    Raises
    ------
    ValueError
        If `p` is neither 1 nor 2, or `reduction` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> float(nn.MultiMarginLoss()(np.array([[1.0, 0.5, 3.0]]), np.array([0])))  # (0.5 + 3) / 3
    1.1666666666666667
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: ArrayLike | None = None,
        reduction: str = "mean",
    ):
        super().__init__(weight, reduction)
        if p not in (1, 2):
            raise ValueError(f"got p={p}, expected 1 or 2")
        self.p, self.margin = int(p), float(margin)

    def forward(self, input: Any, target: Any) -> Any:
        return functional.multi_margin_loss(
            input, target, self.p, self.margin, self.weight, self.reduction
        )
