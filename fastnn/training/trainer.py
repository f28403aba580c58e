"""Trainer: the loop around a training step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._checks import to_array, whole
from fastnn._compiler.trace import flatten_structure, rebuild_structure
from fastnn.datasets import Augment, train_test_split
from fastnn.datasets._augment import check_images
from fastnn.nn import functional
from fastnn.nn.execution import as_array, map_data
from fastnn.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, MultiMarginLoss
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.random import generator
from fastnn.training.callbacks import Callback
from fastnn.training.divergence import EpochResult, Snapshot, TrainingDiverged, run_guarded
from fastnn.training.history import History
from fastnn.training.progress import Progress
from fastnn.training.step import TrainingStep

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastnn._core.augmentation import Augmentation

# A validation takes batches of at least this many examples: fewer and larger ones are quicker.
LEAST_MEASURED_AT_ONCE = 256


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
        callbacks: Iterable[Callback] = (),
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
        callbacks : iterable of Callback, default=()
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
        TrainingDiverged
            If the loss becomes NaN or infinite. The model keeps the last good parameters.
        TypeError, ValueError
            If data, labels or validation data are not what model and loss take, before the first
            epoch.
        """
        epochs, batch_size = whole("epochs", epochs, 0), whole("batch_size", batch_size, 1)
        inputs = convert(X, self.model.dtype) if augment is None else check_images(X)
        targets = convert(y, None)
        rng = generator() if seed is None else np.random.default_rng(seed)
        if validation_split:
            inputs, targets, validation_data = split(
                inputs, targets, validation_data, validation_split, rng
            )
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise TypeError("validation_data: expected a pair (X, y)")
            held, held_targets = validation_data
            if augment is not None and getattr(held, "dtype", None) == np.uint8:
                held = augment.normalize(held, self.model.dtype)
            validation_data = convert(held, self.model.dtype), convert(held_targets, None)
        examples = len(flatten_structure(inputs)[0])
        if examples == 0:
            raise ValueError("X: got an empty data set, expected one example or more")
        if validation_data is not None:
            self._check_validation((inputs, targets), validation_data, batch_size)
        callbacks = checked_callbacks(callbacks)
        self.history, self.stop, self.steps_done = History(), None, 0
        bar = Progress(examples, epochs, progress)
        best: tuple[float, dict[str, NDArray]] | None = None
        self.model.train()
        for callback in callbacks:
            callback.on_fit_start(self)
        try:
            for epoch in range(epochs):
                bar.start_epoch(epoch)
                order = rng.permutation(examples) if shuffle else None
                augmentation = None
                if augment is not None:
                    key = int(rng.integers(2**63))
                    augmentation = augment.compiled(inputs, self.model.dtype, key)
                row = self._epoch(
                    epoch, inputs, targets, order, batch_size, callbacks, bar, augmentation
                )
                if validation_data is not None:
                    measured = self.evaluate(
                        *validation_data, batch_size=max(batch_size, LEAST_MEASURED_AT_ONCE)
                    )
                    row.update({f"val_{name}": value for name, value in measured.items()})
                bar.end_epoch(row)
                self.history.append(row)
                if keep_best:
                    score = score_of(row)
                    if best is None or score > best[0]:
                        best = score, self.model.state_dict()
                for callback in callbacks:
                    callback.on_epoch_end(self, epoch, row)
                if self.stop:
                    break
        except KeyboardInterrupt:
            self.stop = "interrupted"
        except TrainingDiverged as error:
            error.history = self.history
            self.history.stopped = str(error)
            raise
        finally:
            bar.close()
            if best is not None:
                self.model.load_state_dict(best[1])
            for callback in callbacks:
                callback.on_fit_end(self)
        self.history.stopped = self.stop
        return self.history

    def _epoch(
        self,
        epoch: int,
        inputs: Any,
        targets: Any,
        order: NDArray | None,
        batch_size: int,
        callbacks: list[Callback],
        bar: Progress,
        augmentation: Augmentation | None,
    ) -> dict[str, float]:
        self.model.train()
        started = time.perf_counter()
        try:
            if any(callback.next_step(self.steps_done) is not None for callback in callbacks):
                result = self._epoch_by_steps(
                    epoch, inputs, targets, order, batch_size, callbacks, bar, augmentation
                )
            else:
                result = run_guarded(
                    self.step, inputs, targets, order, batch_size, bar.update, augmentation
                )
        except TrainingDiverged as error:
            raise TrainingDiverged(error.batch, error.learning_rate, error.layer, epoch) from None
        row = {"loss": result.loss}
        if result.accuracy is not None:
            row["accuracy"] = result.accuracy
        row["regularization_loss"] = self.step.regularization_loss
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        row["examples_per_second"] = result.examples / (time.perf_counter() - started)
        return row

    def _epoch_by_steps(
        self,
        epoch: int,
        inputs: Any,
        targets: Any,
        order: NDArray | None,
        batch_size: int,
        callbacks: list[Callback],
        bar: Progress,
        augmentation: Augmentation | None,
    ) -> EpochResult:
        """An epoch that returns to Python where a callback wants to look."""
        total = len(flatten_structure(inputs)[0])
        order = np.arange(total) if order is None else order
        sums = np.zeros(3)
        batches = examples = 0
        self.step._prepare_epoch(inputs, targets, order, batch_size)
        snapshot = Snapshot(self.step)
        while examples < total:
            wanted = {
                callback: step
                for callback in callbacks
                if (step := callback.next_step(self.steps_done)) is not None
            }
            left = -(-(total - examples) // batch_size)
            steps = min([left, *[step - self.steps_done for step in wanted.values()]])
            rows = order[examples : examples + steps * batch_size]
            if augmentation is not None:
                augmentation.place = examples
            try:
                result = run_guarded(
                    self.step, inputs, targets, rows, batch_size, None, augmentation, snapshot
                )
            except TrainingDiverged as error:
                raise TrainingDiverged(
                    batches + error.batch, error.learning_rate, error.layer
                ) from None
            sums += [result.loss * len(rows), result.correct, result.counted]
            batches, examples = batches + steps, examples + len(rows)
            self.steps_done += steps
            self._last_rows = inputs, targets, rows[(steps - 1) * batch_size :]
            bar.update(batches, examples, *sums)
            for callback, step in wanted.items():
                if step == self.steps_done:
                    callback.on_step_end(self, epoch, batches - 1, result.loss)
            if self.stop:
                break
        return EpochResult(batches, examples, sums[0] / examples, sums[1], sums[2])

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
        rows = rows[:most]
        return tuple(
            rebuild_structure(data, [leaf[rows] for leaf in flatten_structure(data)])
            for data in (inputs, targets)
        )

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


def convert(data: Any, dtype: np.dtype | None, copies: bool = True) -> Any:
    """Data as arrays; with `copies` in the model's precision, once for all epochs."""

    def converted(item: Any) -> NDArray:
        array = to_array(item)
        if not copies:
            return array
        if dtype is None and array.dtype.kind in "iub" and array.dtype != np.uint64:
            return np.ascontiguousarray(array, np.int64)
        if array.dtype.kind in "biuf":  # uint64 as it is: the program sees what does not fit
            return np.ascontiguousarray(array, dtype or array.dtype)
        return array

    return map_data(converted, data)


def split(inputs: Any, targets: Any, validation_data: Any, share: float, rng: Any) -> tuple:
    """Sets a share of the data aside for validation."""
    if validation_data is not None:
        raise ValueError("got validation_data and validation_split, expected one of them")
    if not 0 < share < 1:
        raise ValueError(f"got validation_split={share}, expected a share between 0 and 1")
    if not isinstance(inputs, np.ndarray) or not isinstance(targets, np.ndarray):
        raise TypeError("validation_split takes single arrays; give validation_data")
    X, X_held, y, y_held = train_test_split(
        inputs, targets, share, seed=int(rng.integers(2**31)), stratify=False
    )
    return X, y, (X_held, y_held)


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """A list of callbacks; TypeError for anything else."""
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: got one {type(callbacks).__name__}, expected a list of them")
    callbacks = list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            name = getattr(callback, "__name__", type(callback).__name__)
            raise TypeError(f"callbacks: got {name}, expected objects of a fastnn.Callback's class")
    return callbacks


def score_of(row: dict[str, float]) -> float:
    """How good an epoch was: larger is better."""
    for name in ("val_accuracy", "val_loss", "accuracy", "loss"):
        if name in row:
            score = row[name] if name.endswith("accuracy") else -row[name]
            return -math.inf if math.isnan(score) else score
    return 0.0
