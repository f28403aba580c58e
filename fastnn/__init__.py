"""fastnn trains neural networks on CPUs.

>>> import fastnn
>>> from fastnn import nn, optim
>>> fastnn.manual_seed(0)
>>> X, y = fastnn.datasets.digits()
>>> X = fastnn.preprocessing.Standardize().fit_transform(X)
>>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
>>> trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
>>> history = trainer.fit(X, y, epochs=5, batch_size=32)
>>> trainer.evaluate(X, y)["accuracy"] > 0.9
True
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastnn import datasets, models, nn, optim, preprocessing
from fastnn._version import __version__
from fastnn.config import get_num_threads, num_threads, set_num_threads, show_config
from fastnn.differentiation import gradient_check, vjp
from fastnn.random import manual_seed
from fastnn.training import (
    Callback,
    EarlyStopping,
    History,
    Trainer,
    TrainingDiverged,
    TrainingStep,
)

if TYPE_CHECKING:
    from fastnn import diagnostics, search
    from fastnn.profiling import profile

__all__ = [
    "__version__",
    "Callback",
    "EarlyStopping",
    "History",
    "Trainer",
    "TrainingDiverged",
    "TrainingStep",
    "datasets",
    "diagnostics",
    "get_num_threads",
    "gradient_check",
    "manual_seed",
    "models",
    "nn",
    "num_threads",
    "optim",
    "preprocessing",
    "profile",
    "search",
    "set_num_threads",
    "show_config",
    "vjp",
]

# What few programs need is imported when it is first used: modules, and functions by their module.
_LAZY_MODULES = {"diagnostics", "search"}
_LAZY_FUNCTIONS = {"profile": "fastnn.profiling"}


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"fastnn.{name}")
    if name in _LAZY_FUNCTIONS:
        return getattr(importlib.import_module(_LAZY_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
