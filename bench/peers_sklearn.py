"""scikit-learn as a peer: MLPClassifier, used as its users use it.

It has no BatchNorm, so it runs those networks without; and for two classes it has one logistic
output in place of a softmax over two, which is the same function with fewer operations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import sklearn
from networks import LEARNING_RATE, MOMENTUM, Network
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

EPOCHS = 3


def prepare(threads: int) -> str:
    """Returns the version; the BLAS library's threads are set by the environment."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    return sklearn.__version__


def classifier(network: Network, epochs: int = 1) -> MLPClassifier:
    """Plain SGD with momentum, without a penalty, that never stops early."""
    return MLPClassifier(
        hidden_layer_sizes=network.widths[1:-1],
        solver="sgd",
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=False,
        batch_size=network.batch,
        alpha=0.0,
        shuffle=False,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=0,
    )


def weights(network: Network) -> list[tuple[NDArray, NDArray]]:
    """fastnn's weights and biases, layer by layer, as MLPClassifier has them."""
    state = network.model().state_dict()
    names = [key[: -len(".weight")] for key, value in state.items() if value.ndim == 2]
    layers = [(state[f"{name}.weight"].T, state[f"{name}.bias"]) for name in names]
    if network.widths[-1] == 2:
        weight, bias = layers[-1]
        layers[-1] = weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1]
    return layers


def with_weights(network: Network) -> MLPClassifier:
    """A classifier ready to train or predict, with fastnn's weights."""
    model = classifier(network)
    x, y = network.split()[0]
    model.partial_fit(x, y, classes=np.arange(network.widths[-1]))
    for i, (weight, bias) in enumerate(weights(network)):
        model.coefs_[i][...] = weight
        model.intercepts_[i][...] = bias
    for velocity in model._optimizer.velocities:
        velocity[...] = 0
    return model


def training_step(network: Network) -> Callable[..., float]:
    """`partial_fit` of one batch; returns its loss before the update."""
    model = with_weights(network)

    def step(x: NDArray, y: NDArray) -> float:
        model.partial_fit(x, y)
        return model.loss_

    return step


def epochs(network: Network) -> tuple[Callable[[], object], int]:
    """`fit` over all batches, some epochs, and how many steps that is."""
    model = classifier(network, EPOCHS)
    x, y = network.data()
    return lambda: model.fit(x, y), EPOCHS * network.batches


def inference(network: Network, x: NDArray) -> Callable[[], NDArray]:
    """A function that gives the probabilities of `x`."""
    model = with_weights(network)
    return lambda: model.predict_proba(x)
