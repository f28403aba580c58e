"""Every check on very few examples: it works, or says how many it needs."""

import inspect

import numpy as np
import pytest

from fastnn import diagnostics, nn, optim

CHECKS = {
    "babysit": lambda *network: diagnostics.babysit(*network, optim.SGD(lr=0.1), steps=10),
    "training": lambda *network: diagnostics.training_check(
        *network, optim.SGD(lr=0.1), steps=10, batch_size=2
    ),
    "range": diagnostics.learning_rate_range,
    "activations": lambda *network: diagnostics.activation_statistics(*network, optim.SGD(lr=0.1)),
    "batchnorm": diagnostics.batchnorm_check,
    "gradients": diagnostics.gradient_check,
    "first loss": diagnostics.initial_loss_check,
    "overfitting": diagnostics.overfit_check,
    "regularization": diagnostics.regularization_check,
    "preprocessing": lambda model, loss, X, y: diagnostics.preprocessing_check(X),
}
# Of a network with batch normalization; those that hold out an example need one more.
LEAST = {name: 2 for name in CHECKS} | {"babysit": 3, "training": 3, "preprocessing": 1}


def network(with_batchnorm):
    middle = [nn.BatchNorm1d(8)] if with_batchnorm else []
    return nn.Sequential(nn.Linear(4, 8), *middle, nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("examples", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("with_batchnorm", [False, True])
@pytest.mark.parametrize("check", CHECKS)
def test_few_examples(check, with_batchnorm, examples):
    X = np.random.default_rng(0).standard_normal((examples, 4))
    data = network(with_batchnorm), nn.CrossEntropyLoss(), X, np.arange(examples) % 3
    if with_batchnorm and examples < LEAST[check]:
        with pytest.raises(ValueError, match=r"layer '.*1' \(batchnorm\) in training: got .*2 or"):
            CHECKS[check](*data)
    else:
        assert str(CHECKS[check](*data))


def test_what_makes_batches_too_small_is_told():
    X, y = np.ones((2, 4)), np.array([0, 1])
    data = network(True), nn.CrossEntropyLoss(), X, y
    with pytest.raises(ValueError, match="got 2 examples, 1 of them to hold out and batch_size=64"):
        diagnostics.babysit(*data)
    assert not diagnostics.babysit(*data, validation_data=(X, y)).stopped.startswith("got")
    with pytest.raises(ValueError, match="batch_size=1, which makes batches of 1, expected 2"):
        diagnostics.learning_rate_range(*data, batch_size=1)


@pytest.mark.parametrize(
    "check, option",
    [
        (diagnostics.babysit, "steps"),
        (diagnostics.babysit, "batch_size"),
        (diagnostics.training_check, "steps"),
        (diagnostics.overfit_check, "steps"),
        (diagnostics.overfit_check, "n"),
        (diagnostics.gradient_check, "n"),
        (diagnostics.gradient_check, "samples"),
        (diagnostics.initial_loss_check, "examples"),
        (diagnostics.learning_rate_range, "batches"),
    ],
)
@pytest.mark.parametrize("number", [0, 2.5, "a"])
def test_counts_are_checked(check, option, number):
    X = np.random.default_rng(0).standard_normal((8, 4))
    data = network(False), nn.CrossEntropyLoss(), X, np.arange(8) % 3
    options = {option: number}
    if "optimizer" in inspect.signature(check).parameters:
        options["optimizer"] = optim.SGD(lr=0.1)
    with pytest.raises(ValueError, match=rf"got {option}={number!r}, expected a whole number of 1"):
        check(*data, **options)


@pytest.mark.parametrize("check", sorted({*CHECKS} - {"preprocessing"}))
def test_targets_for_other_inputs(check):
    X = np.ones((60, 4))
    with pytest.raises(ValueError, match="y: got 5 examples, expected 60 as in X"):
        CHECKS[check](network(False), nn.CrossEntropyLoss(), X, np.arange(5) % 3)


def test_labels_that_are_true_or_false():
    X = np.random.default_rng(0).standard_normal((20, 4))
    model = nn.Sequential(nn.Linear(4, 2))
    assert diagnostics.gradient_check(model, nn.CrossEntropyLoss(), X, X[:, 0] > 0)


def test_a_short_training_returns_the_model_as_it_was_trained():
    X = np.random.default_rng(0).standard_normal((40, 4))
    y = np.arange(40) % 3
    held_out = 100 * np.ones((4, 4)), np.zeros(4, int)
    check = diagnostics.training_check(
        network(True), nn.CrossEntropyLoss(), X, y, optim.SGD(lr=0.1), held_out, steps=10
    )
    tracked = check.data["model"][1].num_batches_tracked
    assert tracked == 10  # what is held out moves no running averages
