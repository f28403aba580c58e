"""Rounds: epochs of training with a measurement after each, in one call."""

import inspect

import numpy as np
import pytest
from fastnn._core.rounds import run_rounds

import fastnn
from fastnn import nn, optim


def data(seed, examples=70):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((examples, 6)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(np.int64)


def trainer(lr=0.1):
    fastnn.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2)
    )
    return fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=lr, momentum=0.9))


def feeds(made, X, y, held, batch_size=16):
    training = made.step.feed(X, y, batch_size)
    with made.model.evaluating():
        return training, made.measuring.feed(*held, 32)


def orders(rounds, examples):
    rng = np.random.default_rng(5)
    return np.array([rng.permutation(examples) for _ in range(rounds)])


def stretch(examples, rounds):
    return np.full(rounds, examples)


def nothing():
    pass


def test_rounds_are_epochs_and_measurements():
    (X, y), held, order = data(0), data(1, 41), orders(4, 70)
    one, other = trainer(), trainer()
    training, measuring = feeds(one, X, y, held)
    stretches = stretch(32, 4)
    results, bad_row, exploded = run_rounds(training, measuring, order, stretches, 1e9, nothing)
    assert bad_row is None and exploded is None and len(results) == 4
    for row, indices in zip(results, order, strict=True):
        other.model.train()
        loss = other.step.epoch(X, y, indices, 16)
        other.model.eval()
        _, *measured = other.measuring.measure(*held, 32)
        assert row[0] == pytest.approx(loss, rel=1e-12)  # sums of stretches: another order
        assert [*row[1:5], bool(row[5])] == measured
    for key, values in one.model.state_dict().items():
        assert np.array_equal(values, other.model.state_dict()[key]), key


def test_a_loss_that_is_not_finite_ends_a_training_at_its_batch():
    (X, y), held, order = data(0), data(1), orders(3, 70)
    X[order[1, 40]] = np.inf
    X[order[1, 41]] = np.inf
    order[0] = np.delete(np.arange(70), order[1, 40:42]).repeat(2)[:70]
    made = trainer()
    training, measuring = feeds(made, X, y, held)
    results, bad_row, exploded = run_rounds(
        training, measuring, order, stretch(16, 3), 1e9, nothing
    )
    assert len(results) == 1 and bad_row == 32 and exploded is None
    assert np.isfinite(made.model[0].weight.data).all()


def test_a_stretch_beyond_the_limit_ends_a_training():
    (X, y), held = data(0), data(1)
    made = trainer(lr=1000.0)
    training, measuring = feeds(made, X, y, held)
    results, bad_row, exploded = run_rounds(
        training, measuring, orders(9, 70), stretch(32, 9), 3.0, nothing
    )
    assert bad_row is None and exploded > 3 and len(results) < 9


def test_a_measurement_that_is_not_finite_is_the_last():
    (X, y), (X_held, y_held) = data(0), data(1)
    X_held[3] = np.nan
    training, measuring = feeds(trainer(), X, y, (X_held, y_held))
    results, *_ = run_rounds(training, measuring, orders(3, 70), stretch(70, 3), 1e9, nothing)
    assert results.shape == (1, 6) and results[0, 5] == 0


def test_an_error_of_whoever_looks_in_ends_a_training_and_leaves_the_programs_usable():
    (X, y), held = data(0), data(1)
    made = trainer()
    training, measuring = feeds(made, X, y, held)
    looks = []

    def give_up():
        looks.append(None)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_rounds(training, measuring, orders(20_000, 70), stretch(70, 20_000), 1e9, give_up)
    assert len(looks) == 1
    results, *_ = run_rounds(training, measuring, orders(1, 70), stretch(70, 1), 1e9, nothing)
    assert len(results) == 1


def test_what_does_not_fit_is_refused():
    (X, y), held = data(0), data(1)
    training, measuring = feeds(trainer(), X, y, held)
    with pytest.raises(ValueError, match="rows from 0 to 69"):
        run_rounds(training, measuring, orders(1, 71), stretch(70, 1), 1e9, nothing)
    with pytest.raises(ValueError, match="stretch"):
        run_rounds(training, measuring, orders(2, 70), stretch(70, 1), 1e9, nothing)
    with pytest.raises(ValueError, match="stretch"):
        run_rounds(training, measuring, orders(1, 70), stretch(0, 1), 1e9, nothing)
    with pytest.raises(ValueError, match="last batch would have 1"):
        run_rounds(training, measuring, orders(1, 70)[:, :65].copy(), stretch(70, 1), 1e9, nothing)


def test_what_only_measures_has_no_backward_pass():
    X, y = data(0)
    made = trainer()
    made.evaluate(X, y)
    names = made.measuring._lowered.program.kernel_names
    assert names and not any("backward" in name for name in names)
    made.measuring.forward(X, y)
    made.measuring.backward()
    assert np.abs(made.model[0].weight.grad).max() > 0


def test_a_search_inside_a_build_does_not_wait_for_the_search_around_it():
    X, y = data(0)

    def inner(params):
        return nn.Sequential(nn.Linear(6, 2)), nn.CrossEntropyLoss(), optim.SGD(lr=params["lr"])

    def build(params):
        best = fastnn.search.grid_search(
            inner, {"lr": [0.1, 1.0]}, X, y, epochs=1, validation=0.2, workers=2
        ).best
        return inner(best.params)

    result = fastnn.search.grid_search(
        build, {"width": [1, 2, 3]}, X, y, epochs=2, validation=0.2, workers=2
    )
    assert [trial.status for trial in result.trials] == ["finished"] * 3


def test_options_show_in_signatures_and_others_are_refused():
    parameters = inspect.signature(fastnn.search.random_search).parameters
    assert list(parameters)[6:9] == ["cv", "validation", "groups"]
    assert parameters["batch_size"].default == 64 and parameters["halving"].default is None
    assert "halving" not in inspect.signature(fastnn.search.grid_search).parameters
    assert "journal" not in inspect.signature(fastnn.search.cross_validate).parameters
    with pytest.raises(TypeError, match=r"grid_search\(\) got an unexpected .*'halving'"):
        fastnn.search.grid_search(None, {}, None, None, halving=3)
