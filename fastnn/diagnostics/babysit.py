"""babysit: the course's seven steps before a training, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastnn._checks import whole
from fastnn.diagnostics.activations import activation_statistics
from fastnn.diagnostics.batchnorm import batchnorm_check
from fastnn.diagnostics.check import Check
from fastnn.diagnostics.gradients import gradient_check
from fastnn.diagnostics.initial_loss import initial_loss_check
from fastnn.diagnostics.learning_rate import learning_rate_range
from fastnn.diagnostics.overfit import overfit_check
from fastnn.diagnostics.preprocessing import preprocessing_check
from fastnn.diagnostics.regularization import regularization_check
from fastnn.diagnostics.report import Report, Step
from fastnn.diagnostics.sandbox import require_batches, sandbox
from fastnn.diagnostics.training import count_held_out, training_check
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.sgd import SGD
from fastnn.preprocessing import Preprocessor

TITLES = (
    "Look at the data",
    "Look at the initialization",
    "Look at the first loss and its gradient",
    "Add regularization and see the loss rise",
    "Overfit a handful of examples",
    "Find the range of learning rates",
    "Watch a short training",
)
# What a layer can have that makes every later step fail for the same reason.
HOPELESS = ("not finite", "alike", "no gradient")


def babysit(
    model: Module,
    loss: Module,
    X: Any,
    y: Any,
    optimizer: Optimizer | None = None,
    *,
    validation_data: tuple[Any, Any] | None = None,
    preprocessor: Preprocessor | None = None,
    batch_size: int = 64,
    steps: int = 300,
) -> Report:
    """Goes through the course's seven steps before a training, and reports what is wrong.

    1. Look at the data: `preprocessing_check`.
    2. Look at the initialization: `activation_statistics`, `batchnorm_check`.
    3. Look at the first loss and its gradient: `initial_loss_check`, `gradient_check`.
    4. Add regularization and see the loss rise: `regularization_check`.
    5. Overfit a handful of examples: `overfit_check`.
    6. Find the range of learning rates: `learning_rate_range`.
    7. Watch a short training: `training_check`, then `batchnorm_check` of what it trained.

    It stops where going on makes no sense: at data that are not finite, at a layer that is dead as
    a whole or gets no gradient, at a wrong first loss that has a known cause, where twenty examples
    can't be learned by heart, and where no learning rate makes the loss fall.

    Parameters
    ----------
    model, loss : Module
        As they are to be trained. Nothing of them is changed.
    X, y : array_like
        The training set, preprocessed.
    optimizer : Optimizer, optional
        As it is to train; by default SGD with momentum 0.9 at the learning rate that step 6
        suggests. Its learning rate is judged, and where it is bad, step 7 takes the suggestion.
    validation_data : (X, y), optional
        Preprocessed like the training set; tells whether it leaked into the mean, and whether what
        is learned carries over. By default a fifth of the training set is held out in step 7.
    preprocessor : Preprocessor, optional
        See `preprocessing_check`.
    batch_size : int, default=64
    steps : int, default=300
        Of step 7.

    Returns
    -------
    Report
        True in a condition if nothing is wrong. ``print`` it, look at ``report.faults``, or
        ``report.save("report.html")``.

    Raises
    ------
    ValueError
        If there are too few examples for the batches that a layer needs in training.

    References
    ----------
    CS231n, Stanford 2016, lecture 5, "Babysitting the learning process".

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import diagnostics, nn, optim
    >>> fastnn.manual_seed(0)
    >>> X, y = fastnn.datasets.digits()
    >>> X = fastnn.preprocessing.Standardize().fit_transform(X)
    >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> bool(diagnostics.babysit(model, nn.CrossEntropyLoss(), X, y, optim.SGD(lr=0.1)))
    True
    >>> model = nn.Sequential(model, nn.Softmax())
    >>> report = diagnostics.babysit(model, nn.CrossEntropyLoss(), X, y, optim.SGD(lr=0.1))
    >>> print(report.faults[0][:38])
    first loss: softmax is applied twice:
    """
    started = time.perf_counter()
    held_out = 0 if validation_data is not None else count_held_out(X)
    batch_size, steps = whole("batch_size", batch_size, 1), whole("steps", steps, 1)
    require_batches(model, loss, X, y, batch_size, held_out)
    session = Session(
        model, loss, X, y, optimizer, validation_data, preprocessor, batch_size, steps
    )
    found: list[Step] = []
    for title, step in zip(TITLES, session.all(), strict=True):
        found.append(Step(title, [] if session.stopped else step()))
    return Report(found, session.stopped, time.perf_counter() - started)


class Session:
    """What the steps share; each returns its checks, and sets `stopped` if none should follow."""

    def __init__(
        self,
        model: Module,
        loss: Module,
        X: Any,
        y: Any,
        optimizer: Optimizer | None,
        validation_data: tuple[Any, Any] | None,
        preprocessor: Preprocessor | None,
        batch_size: int,
        steps: int,
    ):
        self.network = model, loss, X, y
        self.optimizer, self.validation_data = optimizer, validation_data
        self.preprocessor, self.batch_size, self.steps = preprocessor, batch_size, steps
        self.lr: float | None = None
        self.stopped = ""

    def all(self) -> list[Callable[[], list[Check]]]:
        """The seven, in order."""
        return [
            self.data,
            self.initialization,
            self.first_loss,
            self.regularization,
            self.overfitting,
            self.learning_rate,
            self.training,
        ]

    def data(self) -> list[Check]:
        held_out = None if self.validation_data is None else self.validation_data[0]
        check = preprocessing_check(self.network[2], held_out, self.preprocessor)
        if check.data.get("bad"):
            self.stopped = "nothing can be learned from inputs that are not finite"
        return [check]

    def initialization(self) -> list[Check]:
        check = activation_statistics(*self.network, self.optimizer)
        for row in check.data["layers"]:
            if row["verdict"] in HOPELESS or row["dead"] == 1.0:
                self.stopped = f"layer {check.data['first']!r} can't learn as it is"
        return [check, batchnorm_check(*self.network, self.batch_size)]

    def first_loss(self) -> list[Check]:
        first = initial_loss_check(*self.network)
        if first.data["probabilities"] or not abs(first.measured) < float("inf"):
            self.stopped = "the loss is another one than was meant"
            return [first]
        gradients = gradient_check(*self.network)
        if not gradients:
            self.stopped = "the gradient is wrong"
        return [first, gradients]

    def regularization(self) -> list[Check]:
        return [regularization_check(*self.network, optimizer=self.optimizer)]

    def overfitting(self) -> list[Check]:
        check = overfit_check(*self.network, optimizer=self.optimizer)
        if not check:
            self.stopped = "who can't learn twenty examples can't learn all"
        return [check]

    def learning_rate(self) -> list[Check]:
        check = learning_rate_range(*self.network, self.optimizer, self.batch_size)
        self.lr = check.data["suggestion"]
        if self.lr is None:
            self.stopped = "no learning rate makes the loss fall"
        elif check.passed and self.optimizer is not None:
            self.lr = None  # the optimizer's own will do
        return [check]

    def training(self) -> list[Check]:
        model, loss, X, y = self.network
        with sandbox(model, loss, self.optimizer) as (copy, criterion, stepper):
            stepper = SGD(momentum=0.9) if stepper is None else stepper
            if self.lr is not None:
                for group in stepper.param_groups:
                    group["lr"] = self.lr
            check = training_check(
                *(copy, criterion, X, y, stepper, self.validation_data),
                *(self.batch_size, self.steps),
            )
        return [check, batchnorm_check(check.data["model"], loss, X, y, self.batch_size)]
