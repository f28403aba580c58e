"""The first loss against what chance predicts."""

import numpy as np
import pytest
from children import run
from data import cifar10_network
from state import unchanged

from fastnn import diagnostics, nn


def network(classes=10, scale=1e-4):
    model = nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, classes))
    nn.init.normal_(model[3].weight, std=scale)
    nn.init.zeros_(model[3].bias)
    return model


def test_cross_entropy_begins_at_the_log_of_the_class_count(rng):
    X, y = rng.normal(size=(100, 20)), np.arange(100) % 10
    model = network()
    with unchanged(model):
        check = diagnostics.initial_loss_check(model, nn.CrossEntropyLoss(), X, y)
    assert check.passed
    assert check.measured == pytest.approx(np.log(10), abs=1e-3)
    assert check.data["chance"] == pytest.approx(np.log(10), abs=1e-6)


def test_class_weights_and_imbalance(rng):
    X, y = rng.normal(size=(100, 20)), np.r_[np.zeros(90, int), np.ones(10, int)]
    weight = np.array([1.0, 3.0])
    check = diagnostics.initial_loss_check(network(2), nn.CrossEntropyLoss(weight), X, y)
    shares = np.array([90, 30]) / 120
    assert check.data["chance"] == pytest.approx(np.log(2), abs=1e-6)
    assert check.data["shares"] == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-6)


@pytest.mark.parametrize(
    "loss, target, expected",
    [
        (nn.MultiMarginLoss(), np.arange(100) % 10, 9 / 10),
        (nn.MSELoss(), np.full((100, 10), 3.0), 9.0),
        (nn.BCEWithLogitsLoss(), np.tile([0.0, 1.0], (100, 5)), np.log(2)),
    ],
)
def test_other_losses(rng, loss, target, expected):
    check = diagnostics.initial_loss_check(network(), loss, rng.normal(size=(100, 20)), target)
    assert check.data["chance"] == pytest.approx(expected, rel=1e-6)
    assert check.measured == pytest.approx(expected, abs=1e-2)
    assert check.passed


def test_scores_that_are_too_large_fail(rng):
    X, y = rng.normal(size=(100, 20)), np.arange(100) % 10
    check = diagnostics.initial_loss_check(network(scale=10.0), nn.CrossEntropyLoss(), X, y)
    assert not check
    assert "last layer's initial weights smaller" in check.advice


def test_softmax_and_sigmoid_applied_twice(rng):
    X, y = rng.normal(size=(100, 20)), np.arange(100) % 10
    model = nn.Sequential(network(), nn.Softmax())
    check = diagnostics.initial_loss_check(model, nn.CrossEntropyLoss(), X, y)
    assert not check and "softmax is applied twice" in check.advice
    model = nn.Sequential(network(1), nn.Sigmoid())
    check = diagnostics.initial_loss_check(model, nn.BCEWithLogitsLoss(), X, y[:, None] % 2)
    assert not check and "sigmoid is applied twice" in check.advice


def test_cifar10_begins_as_in_the_course():
    model, X, y = cifar10_network()
    check = diagnostics.initial_loss_check(model, nn.CrossEntropyLoss(), X, y)
    assert check.passed
    assert check.measured == pytest.approx(2.3026, abs=1e-3)


def test_a_check_shows_itself(rng):
    X, y = rng.normal(size=(100, 20)), np.arange(100) % 10
    check = diagnostics.initial_loss_check(network(), nn.CrossEntropyLoss(), X, y)
    assert str(check).startswith("ok    first loss\n      measured  2.3")
    assert "<h3>first loss" in check._repr_html_()
    ax = check.plot()
    assert check.plot(ax) is ax


def test_importing_fastnn_imports_neither_scipy_nor_matplotlib():
    code = (
        "import sys, fastnn; light = not {'scipy', 'matplotlib'} & sys.modules.keys(); "
        "fastnn.diagnostics.Check; print(light, not {'scipy', 'matplotlib'} & sys.modules.keys())"
    )
    assert run(code).stdout.split() == ["True", "True"]


def test_targets_that_are_all_zero(rng):
    X = rng.normal(size=(50, 20))
    check = diagnostics.initial_loss_check(network(1, 1.0), nn.MSELoss(), X, np.zeros((50, 1)))
    assert not check.passed
    assert "the first loss is above chance" in check.advice
    assert check.data["chance"] == 0
