"""Regularization, overfitting, learning rates and gradients, on digits and on CIFAR-10."""

import numpy as np
import pytest
from data import cifar10_network, digits
from setups import HEALTHY, relu_network, seeded, sgd

from fastnn import diagnostics, nn, optim
from fastnn._compiler.operators import OPERATORS

LOSS = nn.CrossEntropyLoss()


def test_regularization_raises_the_loss_by_its_formula():
    X, _, y, _ = digits()
    model = seeded(relu_network)
    check = diagnostics.regularization_check(model, LOSS, X, y, 2.0)
    squares = sum(float((p.data.astype(np.float64) ** 2).sum()) for p in model.parameters())
    assert check.passed
    assert check.data["penalty"] == pytest.approx(squares, rel=1e-9)
    assert check.measured == pytest.approx(check.data["data_loss"] + squares, rel=1e-5)


def test_regularization_of_the_optimizers_groups_only():
    X, _, y, _ = digits()
    model = seeded(relu_network)
    groups = [{"params": [model[0].weight], "weight_decay": 3.0}, {"params": [model[2].weight]}]
    check = diagnostics.regularization_check(model, LOSS, X, y, optimizer=optim.SGD(groups))
    expected = 1.5 * float((model[0].weight.data.astype(np.float64) ** 2).sum())
    assert check.data["increase"] == pytest.approx(expected, rel=1e-5)


def test_a_wrong_regularization_fails(monkeypatch):
    X, _, y, _ = digits()
    monkeypatch.setattr(optim.SGD, "regularization_loss", lambda self: 1.0)
    check = diagnostics.regularization_check(seeded(relu_network), LOSS, X, y, 1.0)
    assert not check and "the loss rises by" in check.advice


def test_overfitting_a_handful():
    X, _, y, _ = digits()
    check = diagnostics.overfit_check(
        seeded(HEALTHY["convolutional"]), LOSS, X.reshape(-1, 1, 8, 8), y
    )
    assert check.passed and check.measured < 0.01 and check.data["accuracy"] == 1.0
    assert check.plot().get_yscale() == "log"


def test_overfitting_names_labels_that_contradict_each_other():
    X, _, y, _ = digits()
    X, y = X[:20].copy(), y[:20].copy()
    X[1], y[1] = X[0], (y[0] + 1) % 10
    check = diagnostics.overfit_check(seeded(relu_network), LOSS, X, y, steps=200)
    assert not check and "1 examples have equal inputs but other labels" in check.advice


def test_overfitting_names_the_layer_without_a_gradient():
    X, _, y, _ = digits()
    model = seeded(relu_network)
    nn.init.constant_(model[2].bias, -10.0)
    check = diagnostics.overfit_check(model, LOSS, X, y, steps=200)
    assert not check and "the gradient is zero in layer '2'" in check.advice


def test_overfitting_finds_a_learning_rate_where_the_own_does_not_do():
    X, _, y, _ = digits()
    check = diagnostics.overfit_check(seeded(relu_network), LOSS, X, y, optimizer=sgd(1e4))
    assert check.passed and "not with the optimizer's learning rate 10000" in check.advice


def test_overfitting_a_regression(rng):
    model = nn.Sequential(nn.Linear(5, 50), nn.Tanh(), nn.Linear(50, 1))
    X = rng.normal(size=(100, 5))
    check = diagnostics.overfit_check(model, nn.MSELoss(), X, 3 + X[:, :1] * X[:, 1:2])
    assert check.passed and check.data["accuracy"] is None


@pytest.mark.parametrize("lr, verdict", [(1e-7, "too low"), (500.0, "too high"), (0.05, "")])
def test_learning_rates(lr, verdict):
    X, _, y, _ = digits()
    check = diagnostics.learning_rate_range(seeded(HEALTHY["batchnorm"]), LOSS, X, y, sgd(lr))
    assert check.passed == (not verdict) and verdict in check.advice
    data = check.data
    assert data["smallest"] <= data["suggestion"] <= data["largest"]
    assert lr in data["rates"] and f"{lr:g}: " in check.measured
    losses = dict(zip(data["rates"], data["losses"], strict=True))
    assert losses[1e-7] == pytest.approx(data["first"], rel=1e-3)
    assert check.plot().get_xscale() == "log"


def test_the_loss_at_a_learning_rate_is_that_of_a_training():
    X, _, y, _ = digits()
    model = seeded(relu_network)
    check = diagnostics.learning_rate_range(
        model, LOSS, X[:64], y[:64], optim.SGD(lr=0.25), batches=1
    )
    logits = np.asarray(model(X[:64]))
    assert check.data["first"] == pytest.approx(float(LOSS(logits, y[:64])), rel=1e-5)
    import fastnn

    step = fastnn.TrainingStep(model, LOSS, optim.SGD(lr=0.25))
    step(X[:64], y[:64])
    losses = dict(zip(check.data["rates"], check.data["losses"], strict=True))
    assert losses[0.25] == pytest.approx(step.forward(X[:64], y[:64]), rel=1e-4)


@pytest.mark.parametrize("network", ["batchnorm", "sigmoid", "convolutional"])
def test_gradients(network):
    X, _, y, _ = digits()
    X = X.reshape(-1, 1, 8, 8) if network == "convolutional" else X
    model = seeded(HEALTHY[network])
    check = diagnostics.gradient_check(model, LOSS, X, y)
    assert check.passed and max(check.data["errors"].values()) < 0.01
    assert list(check.data["errors"]) == [name for name, _ in model.named_parameters()]
    assert check.plot().get_xscale() == "log"


def test_a_wrong_gradient_is_named(monkeypatch):
    X, _, y, _ = digits()
    operator = type(OPERATORS["linear"])
    right = operator.backward

    def wrong(self, node, gradients):
        dx, dweight, dbias = right(self, node, gradients)
        return [dx * 1.1, dweight, dbias]

    monkeypatch.setattr(operator, "backward", wrong)
    check = diagnostics.gradient_check(seeded(relu_network), LOSS, X, y)
    assert not check
    assert "the gradient of 0.weight" in check.advice
    assert "the gradient of 4.weight" not in check.advice


def test_cifar10_as_in_the_course():
    model, X, y = cifar10_network()
    check = diagnostics.regularization_check(model, LOSS, X, y, 1e3)
    assert check.passed and check.measured == pytest.approx(3.07, abs=0.01)
    check = diagnostics.overfit_check(model, LOSS, X, y)
    assert check.passed and check.measured < 0.01 and check.data["accuracy"] == 1.0
    for lr, verdict in ((1e-6, "barely changing"), (1e6, "explodes")):
        check = diagnostics.learning_rate_range(model, LOSS, X, y, optim.SGD(lr=lr))
        assert not check and verdict in check.advice and verdict in check.measured


def test_long_advice_is_wrapped_when_it_is_printed():
    check = diagnostics.Check("a check", False, 1.0, "words " * 40, "advice " * 40 + "\nmore", {})
    lines = str(check).splitlines()
    assert max(map(len, lines)) <= 96
    assert sum("expected" in line for line in lines) == 1 and lines[-1].strip() == "more"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_reports_of_data_beyond_all_bounds_are_drawn(bad, rng, tmp_path, recwarn):
    pytest.importorskip("matplotlib")
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    X[3, 1] = bad
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    for check in (
        diagnostics.learning_rate_range(model, LOSS, X, y),
        diagnostics.activation_statistics(model, LOSS, X, y),
        diagnostics.batchnorm_check(model, LOSS, X, y),
        diagnostics.gradient_check(model, LOSS, X, y),
    ):
        check.plot()
        str(check)
    diagnostics.babysit(model, LOSS, X, y, optim.SGD(lr=0.1)).save(tmp_path / "report.html")
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_lists_are_data(rng):
    def linear():
        return nn.Linear(4, 3)

    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    for check in (
        lambda X, y: diagnostics.preprocessing_check(X, held_out=X),
        lambda X, y: diagnostics.overfit_check(seeded(linear), LOSS, X, y, steps=50),
        lambda X, y: diagnostics.learning_rate_range(seeded(linear), LOSS, X, y),
    ):
        assert str(check(X.tolist(), y.tolist())) == str(check(X, y))
