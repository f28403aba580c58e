"""Callbacks: what may look at a training, and end it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastnn._checks import whole

if TYPE_CHECKING:
    from fastnn.training.trainer import Trainer


class Callback:
    """Called by `Trainer.fit`; a subclass overrides what it needs.

    Setting ``trainer.stop`` to a reason ends the training after the batch or epoch.

    Attributes
    ----------
    every_step : bool
        Whether `on_step_end` is wanted after each step. It costs the return to Python; a callback
        that looks now and then overrides `next_step` instead.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn, optim
    >>> class StopWhenGood(fastnn.Callback):
    ...     def on_epoch_end(self, trainer, epoch, row):
    ...         if row["accuracy"] > 0.9:
    ...             trainer.stop = "good enough"
    >>> X, y = fastnn.datasets.digits()
    >>> trainer = fastnn.Trainer(nn.Linear(64, 10), nn.CrossEntropyLoss(), optim.SGD(lr=0.5))
    >>> trainer.fit(X / 16, y, epochs=20, callbacks=[StopWhenGood()]).stopped
    'good enough'
    """

    every_step = False

    def next_step(self, done: int) -> int | None:
        """After which step of the fit `on_step_end` is wanted next.

        Parameters
        ----------
        done : int
            Steps that have been taken.

        Returns
        -------
        int or None
            None means never.
        """
        return done + 1 if self.every_step else None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first epoch.

        Parameters
        ----------
        trainer : Trainer
        """

    def on_step_end(self, trainer: Trainer, epoch: int, batch: int, loss: float) -> None:
        """After the updates that `next_step` asked for.

        Parameters
        ----------
        trainer : Trainer
        epoch, batch : int
            Counted from 0.
        loss : float
            The mean since the last call.
        """

    def on_epoch_end(self, trainer: Trainer, epoch: int, row: Mapping[str, float]) -> None:
        """After each epoch.

        Parameters
        ----------
        trainer : Trainer
        epoch : int
            Counted from 0.
        row : dict
            What was measured: "loss", "accuracy", "val_loss", ...
        """

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch, however it ended.

        Parameters
        ----------
        trainer : Trainer
        """


class EarlyStopping(Callback):
    """Ends the training when a figure has not improved for some epochs.

    Parameters
    ----------
    monitor : str, default="val_loss"
        A column of the history; larger is better for an accuracy, smaller for a loss.
    patience : int, default=5
        Epochs without improvement that are waited for.
    min_delta : float, default=0
        What counts as an improvement.

    Raises
    ------
    ValueError
        If `patience` is no whole number of 1 or more; in `Trainer.fit`, if there is no such column.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn, optim
    >>> X, y = fastnn.datasets.digits()
    >>> trainer = fastnn.Trainer(nn.Linear(64, 10), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    >>> history = trainer.fit(X / 16, y, epochs=3, validation_split=0.2,
    ...                       callbacks=[fastnn.EarlyStopping("val_accuracy", patience=3)])
    >>> len(history.epochs)
    3
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0):
        self.monitor, self.min_delta = monitor, min_delta
        self.patience = whole("patience", patience, 1, where="EarlyStopping: ")
        self.best, self.waited = math.inf, 0

    def on_fit_start(self, trainer: Trainer) -> None:
        self.best, self.waited = math.inf, 0

    def on_epoch_end(self, trainer: Trainer, epoch: int, row: Mapping[str, float]) -> None:
        if self.monitor not in row:
            raise ValueError(
                f"EarlyStopping: there is no {self.monitor!r}, expected one of {sorted(row)}; "
                "give validation data to fit"
            )
        score = -row[self.monitor] if "accuracy" in self.monitor else row[self.monitor]
        if score < self.best - self.min_delta:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop = f"early stopping: no better {self.monitor} for {self.patience} epochs"
