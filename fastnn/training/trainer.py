"""Trainer: the loop around a training step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import whole
from fastnn._compiler.trace import flatten_structure, rebuild_structure
from fastnn.datasets import Augment
from fastnn.nn import functional
from fastnn.nn.execution import as_array, map_data
from fastnn.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, MultiMarginLoss
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.random import generator
from fastnn.training.callbacks import Callback
from fastnn.training.data import convert, rows_of, training_data
from fastnn.training.fit import LEAST_MEASURED_AT_ONCE, Fit
from fastnn.training.history import History
from fastnn.training.progress import Progress
from fastnn.training.step import TrainingStep

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Trainer:
    """Fits a model to data, evaluates it, predicts with it.

    Parameters
    ----------
    model : Module
    loss : Module
    optimizer : Optimizer
    max_grad_norm : float, optional
        See `TrainingStep`.

    Attributes
    ----------
    history : History
        Of the last `fit`.
    stop : str or None
        A callback sets it to a reason to end the training.
    steps_done : int
        Steps of the running `fit`, where a callback looks at steps.

    Raises
    ------
    TypeError
        If one of them is not what it should be.
    ValueError
        If `max_grad_norm` is not above 0.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn, optim
    >>> fastnn.manual_seed(0)
    >>> X, y = fastnn.datasets.digits()
    >>> model = nn.Sequential(nn.Linear(64, 10))
    >>> trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
    >>> history = trainer.fit(X / 16, y, epochs=3)
    >>> sorted(history)
    ['accuracy', 'examples_per_second', 'loss', 'lr', 'regularization_loss']
    """

    def __init__(
        self,
        model: Module,
        loss: Module,
        optimizer: Optimizer,
        max_grad_norm: float | None = None,
    ):
        if optimizer is None:
            raise TypeError("optimizer: got None, expected one of fastnn.optim")
        self.step = TrainingStep(model, loss, optimizer, max_grad_norm)
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.measuring = TrainingStep(model, loss)
        self.history = History()
        self.stop: str | None = None
        self.steps_done = 0
        self._last_rows: tuple[Any, Any, NDArray] | None = None

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        epochs: int = 10,
        batch_size: int = 64,
        *,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        augment: Augment | None = None,
        seed: int | None = None,
        callbacks: Iterable[Callback] | None = None,
        keep_best: bool = False,
        progress: bool | None = None,
    ) -> History:
        """Trains for some epochs; a second call goes on from where the first ended.

        Parameters
        ----------
        X, y : array_like
            Examples along axis 0.
        epochs : int, default=10
        batch_size : int, default=64
            The last batch of an epoch may be smaller.
        validation_data : (X, y), optional
            Measured after each epoch.
        validation_split : float, default=0
            Share of X and y that is set aside for validation instead (before shuffling, at random
            by `seed`).
        shuffle : bool, default=True
            Whether each epoch takes the examples in a new order.
        augment : fastnn.datasets.Augment, optional
            What is done to the images X, of uint8 and shape (N, channels, height, width), anew in
            each epoch. Images of uint8 for validation are normalized by it, and else left alone;
            those for `evaluate` and `predict` need ``augment.normalize(X)``.
        seed : int, optional
            Of the shuffling and the augmentation; by default what `manual_seed` began.
        callbacks : iterable of Callback, optional
        keep_best : bool, default=False
            Ends with the weights of the epoch with the best validation accuracy (or the lowest
            validation loss; of the training, without validation data).
        progress : bool, optional
            Whether to show a progress bar; by default where the standard error is a terminal.

        Returns
        -------
        History
            Its ``stopped`` tells why it ended early, if it did. Ctrl-C ends it within a batch.

        Raises
        ------
        ValueError
            If there are no examples, shapes don't fit the model, a label is out of range, or a
            number is outside its range.
        TypeError
            If data are not of numbers, or a callback is none.
        TrainingDiverged
            If the loss becomes NaN or infinite. The model keeps the last good parameters.
        TypeError, ValueError
            If data, labels or validation data are not what model and loss take, before the first
            epoch.
        """
        epochs, batch_size = whole("epochs", epochs, 0), whole("batch_size", batch_size, 1)
        rng = generator() if seed is None else np.random.default_rng(seed)
        inputs, targets, validation_data = training_data(
            X, y, self.model.dtype, augment, validation_data, validation_split, rng
        )
        examples = len(flatten_structure(inputs)[0])
        if examples == 0:
            raise ValueError("X: got an empty data set, expected one example or more")
        if validation_data is not None:
            self._check_validation((inputs, targets), validation_data, batch_size)
        fit = Fit(
            self,
            inputs,
            targets,
            validation_data,
            batch_size,
            shuffle,
            augment,
            rng,
            checked_callbacks(callbacks),
            Progress(examples, epochs, progress),
        )
        self.history, self.stop, self.steps_done = History(), None, 0
        fit.run(epochs, keep_best)
        return self.history

    def _check_validation(self, data: tuple, validation_data: tuple, batch_size: int) -> None:
        """Raises before the first epoch what the validation after it would raise."""
        held, held_targets = validation_data
        try:
            with self.model.evaluating():
                self.measuring.feed(held, held_targets, max(batch_size, LEAST_MEASURED_AT_ONCE))
        except (TypeError, ValueError) as error:
            # What is wrong with the data themselves comes first.
            inputs, targets = (map_data(lambda array: array[:1], part) for part in data)
            with self.model.evaluating():
                self.measuring.feed(inputs, targets)
            raise type(error)(f"validation_data: {error}") from None

    def last_batch(self, most: int | None = None) -> tuple[Any, Any]:
        """Inputs and targets of the step that has just ended, for `Callback.on_step_end`.

        Parameters
        ----------
        most : int, optional
            How many examples are enough.

        Returns
        -------
        inputs, targets
            As they were given to `fit`.

        Raises
        ------
        RuntimeError
            Before a step has ended.
        """
        if self._last_rows is None:
            raise RuntimeError("last_batch() is for Callback.on_step_end: no step has ended")
        inputs, targets, rows = self._last_rows
        return rows_of(inputs, rows[:most]), rows_of(targets, rows[:most])

    def evaluate(self, X: ArrayLike, y: ArrayLike, batch_size: int = 256) -> dict[str, float]:
        """Loss, and accuracy where the loss has labels, in inference mode.

        Parameters
        ----------
        X, y : array_like
            Examples along axis 0.
        batch_size : int, default=256

        Returns
        -------
        dict
            ``{"loss": ..., "accuracy": ...}``
        """
        inputs, targets = convert(X, self.model.dtype), convert(y, None)
        with self.model.evaluating():
            _, examples, loss_sum, correct, counted, _ = self.measuring.measure(
                inputs, targets, whole("batch_size", batch_size, 1)
            )
        row = {"loss": loss_sum / examples}
        if counted:
            row["accuracy"] = correct / counted
        return row

    def predict_scores(self, X: ArrayLike, batch_size: int = 1024) -> Any:
        """The model's output for each example, in inference mode and by batches.

        Parameters
        ----------
        X : array_like
            Examples along axis 0.
        batch_size : int, default=1024

        Returns
        -------
        ndarray, or a structure of them as `forward` returns it
        """
        batch_size = whole("batch_size", batch_size, 1)
        inputs = convert(X, self.model.dtype, copies=False)
        arrays = flatten_structure(inputs)
        count = len(as_array(arrays[0]))
        with self.model.evaluating():
            parts = []
            for first in range(0, max(count, 1), batch_size):
                batch = [array[first : first + batch_size] for array in arrays]
                parts.append(self.model(rebuild_structure(inputs, batch)))
        leaves = zip(*(flatten_structure(part) for part in parts), strict=True)
        return rebuild_structure(parts[0], [np.concatenate(leaf) for leaf in leaves])

    def predict_proba(self, X: ArrayLike, batch_size: int = 1024) -> NDArray:
        """The probability of each class.

        Parameters
        ----------
        X : array_like
            Examples along axis 0.
        batch_size : int, default=1024

        Returns
        -------
        ndarray (examples, classes)
            The softmax of the scores; with `fastnn.nn.BCEWithLogitsLoss` the sigmoid, column by
            column.

        Raises
        ------
        TypeError
            If the loss has no probabilities, or the model several outputs.
        """
        if isinstance(self.loss, MSELoss):
            raise TypeError("predict_proba: MSELoss has no probabilities; see predict")
        scores = self.predict_scores(X, batch_size)
        if not isinstance(scores, np.ndarray):
            raise TypeError("predict_proba: the model has several outputs; see predict_scores")
        function = functional.sigmoid if self._has_sides() else functional.softmax
        return function(scores)

    def predict(self, X: ArrayLike, batch_size: int = 1024) -> Any:
        """What the model says of each example.

        Parameters
        ----------
        X : array_like
            Examples along axis 0.
        batch_size : int, default=1024

        Returns
        -------
        ndarray
            With labels (`fastnn.nn.CrossEntropyLoss`, `fastnn.nn.MultiMarginLoss`) the class with
            the largest score; with `fastnn.nn.BCEWithLogitsLoss` 0 or 1 by column, 1 for a
            probability above one half; with any other loss the output itself.
        """
        scores = self.predict_scores(X, batch_size)
        if isinstance(self.loss, (CrossEntropyLoss, MultiMarginLoss)):
            return scores.argmax(axis=-1)
        return (scores > 0).astype(np.int64) if self._has_sides() else scores

    def _has_sides(self) -> bool:
        """Whether each column decides between two classes."""
        return isinstance(self.loss, BCEWithLogitsLoss)


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """A list of callbacks, empty for None; TypeError for anything else."""
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: got one {type(callbacks).__name__}, expected a list of them")
    callbacks = list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            name = getattr(callback, "__name__", type(callback).__name__)
            raise TypeError(f"callbacks: got {name}, expected objects of a fastnn.Callback's class")
    return callbacks
