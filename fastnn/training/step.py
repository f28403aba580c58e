"""TrainingStep: forward, backward and update of a network, compiled into one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastnn._checks import above_zero, whole
from fastnn._core.epoch import run_epoch
from fastnn._core.feed import Feed
from fastnn.datasets._augment import Augment, images_to_augment
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.random import new_seed
from fastnn.training.epoch import EpochData, run_guarded
from fastnn.training.programs import StepPrograms

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastnn._core.augmentation import Augmentation


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
        if max_grad_norm is not None:
            max_grad_norm = above_zero("max_grad_norm", max_grad_norm)
        self.model, self.loss_function, self.optimizer = model, loss, optimizer
        self.max_grad_norm = max_grad_norm
        self._seed = new_seed()
        self._forget()

    def _forget(self) -> None:
        """As if nothing had been compiled yet."""
        self.programs = StepPrograms(
            self.model, self.loss_function, self.optimizer, self.max_grad_norm, self._seed
        )
        self._phase = "new"

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code points into memory; copies and pickles make it again when they need it.
        kept = ("model", "loss_function", "optimizer", "max_grad_norm", "_seed")
        return {name: vars(self)[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    # -- running --------------------------------------------------------------------------------

    def __call__(self, inputs: ArrayLike, targets: ArrayLike) -> float:
        """Forward, backward and update with one batch.

        Parameters
        ----------
        inputs, targets : array_like
            A batch along axis 0.

        Returns
        -------
        float
            The data loss, as it was before the update.
        """
        programs = self.programs
        arrays = programs.prepare(inputs, targets)
        self._require_optimizer()
        self._phase = "new"
        assert programs.current is not None
        return programs.current.lowered.program.train_step(*arrays)

    def forward(self, inputs: ArrayLike, targets: ArrayLike) -> float:
        """Computes the data loss of one batch.

        Parameters
        ----------
        inputs, targets : array_like
            A batch along axis 0. An array that needs no copy (of the model's precision, contiguous)
            is read where it is until `backward` has run: change it after that.

        Returns
        -------
        float
        """
        self._phase = "new"
        arrays = self.programs.prepare(inputs, targets)
        program = self.programs.lowered.program
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
        self.programs.require_same_model("backward()")
        self.programs.lowered.program.backward()
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
        self.programs.require_same_model("update()")
        self.programs.update_options()
        self.programs.lowered.program.update()
        self._phase = "new"

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
        self._require_optimizer()
        augmentation = None
        if augment is not None:
            X = images_to_augment(X, augment)
            augmentation = augment.compiled(X, self.model.dtype, new_seed())
        return run_guarded(self, EpochData(X, y, batch_size, augmentation), indices, callback).loss

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
        return run_epoch(self.feed(X, y, batch_size), None, False, callback)

    def feed(
        self,
        X: ArrayLike,
        y: ArrayLike,
        batch_size: int = 64,
        examples: int | None = None,
        augmentation: Augmentation | None = None,
        earlier: Feed | None = None,
    ) -> Feed:
        """The data and the program of `epoch` or `measure`, for loops that run very many.

        What an epoch depends on (shapes, the model's mode and structure, the optimizer's options)
        is looked at here, once; the model must not be changed while the result is in use.

        Parameters
        ----------
        X, y : all examples
        batch_size : int, default=64
        examples : int, optional
            How many of them an epoch takes.
        augmentation : Augmentation, optional
            What is done to the images X.
        earlier : Feed, optional
            One of the same arguments, which serves again if its program still holds.

        Returns
        -------
        Feed
            What ``run_epoch`` and ``run_rounds`` of fastnn._core take.
        """
        batch_size = whole("batch_size", batch_size, 1)
        feed = self.programs.feed(X, y, batch_size, examples, augmentation, earlier)
        self._phase = "new"
        return feed

    def _require_optimizer(self) -> None:
        if self.optimizer is None:
            raise RuntimeError("this TrainingStep has no optimizer: it can only measure a loss")

    # -- what happened --------------------------------------------------------------------------

    @property
    def data_loss(self) -> float:
        """The loss of the last batch."""
        return self.programs.lowered.program.read_loss()

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
        compiled = self.programs.current
        if compiled is None or "grad_norm" not in compiled.lowered.graph.metrics:
            return None
        lowered = compiled.lowered
        return float(lowered.view(lowered.graph.metrics["grad_norm"])[0])
