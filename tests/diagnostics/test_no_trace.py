"""Every check leaves model, optimizer and random state as they were, byte by byte."""

import numpy as np
import pytest
from data import digits
from setups import HEALTHY, seeded, sgd
from state import unchanged

import fastnn
from fastnn import diagnostics, nn

LOSS = nn.CrossEntropyLoss()

CHECKS = {
    "preprocessing": lambda m, X, y, o: diagnostics.preprocessing_check(X),
    "first loss": lambda m, X, y, o: diagnostics.initial_loss_check(m, LOSS, X, y),
    "regularization": lambda m, X, y, o: diagnostics.regularization_check(
        m, LOSS, X, y, 0.5, optimizer=o
    ),
    "overfit": lambda m, X, y, o: diagnostics.overfit_check(m, LOSS, X, y, optimizer=o),
    "learning rate": lambda m, X, y, o: diagnostics.learning_rate_range(m, LOSS, X, y, o),
    "activations": lambda m, X, y, o: diagnostics.activation_statistics(m, LOSS, X, y, o),
    "initialization": lambda m, X, y, o: diagnostics.initialization_study(depth=2, width=20),
    "batchnorm": lambda m, X, y, o: diagnostics.batchnorm_check(m, LOSS, X, y),
    "gradient": lambda m, X, y, o: diagnostics.gradient_check(m, LOSS, X, y),
    "training": lambda m, X, y, o: diagnostics.training_check(m, LOSS, X, y, o, steps=30),
    "babysit": lambda m, X, y, o: diagnostics.babysit(m, LOSS, X, y, o, steps=30),
}


@pytest.mark.parametrize("network", ["batchnorm", "convolutional"])
@pytest.mark.parametrize("check", CHECKS)
def test_nothing_changes(check, network):
    X, _, y, _ = digits()
    model, optimizer = seeded(HEALTHY[network]), sgd()
    X = X.reshape(-1, 1, 8, 8) if network == "convolutional" else X
    step = fastnn.TrainingStep(model, LOSS, optimizer)
    step.epoch(X[:256], y[:256])  # gradients, velocities and running averages are not zero
    model[1].eval()  # modes that differ
    inputs, targets = X.copy(), y.copy()
    with unchanged(model, optimizer):
        CHECKS[check](model, X, y, optimizer)
    np.testing.assert_array_equal(X, inputs)
    np.testing.assert_array_equal(y, targets)


def test_a_training_goes_on_as_if_nothing_had_looked():
    X, _, y, _ = digits()
    weights = []
    for looks in (False, True):
        model, optimizer = seeded(HEALTHY["batchnorm"]), sgd()
        step = fastnn.TrainingStep(model, LOSS, optimizer)
        step.epoch(X, y)
        if looks:
            diagnostics.babysit(model, LOSS, X, y, optimizer, steps=20)
        step.epoch(X, y)
        weights.append({key: array.tobytes() for key, array in model.state_dict().items()})
    assert weights[0] == weights[1]


def test_a_check_that_fails_puts_the_random_state_back():
    X = digits()[0]
    model = seeded(HEALTHY["relu"])
    with unchanged(model), pytest.raises(ValueError, match="label 50"):
        diagnostics.initial_loss_check(model, LOSS, X, np.full(len(X), 50))


def test_a_generator_of_the_thread_goes_on_as_well():
    """A trial of a search draws from its own, and its `build` may call a check."""
    X, _, y, _ = digits()
    drawn = []
    for look in (False, True):
        with fastnn.random.own_generator(3) as generator:
            model = seeded(HEALTHY["batchnorm"])
            before = generator.bit_generator.state
            if look:
                diagnostics.initial_loss_check(model, LOSS, X, y)
            assert fastnn.random.generator() is not fastnn.random._Source.generator
            drawn.append((before, fastnn.random.new_seed()))
    assert drawn[0] == drawn[1]
