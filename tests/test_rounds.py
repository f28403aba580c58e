"""Rounds: epochs of training with a measurement after each, in one call."""

import inspect

import numpy as np
import pytest
from fastnn._core.rounds import run_rounds
from fastnn._core.shuffle import shuffled

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


def stretch(examples, rounds):
    return np.full(rounds, examples)


def nothing():
    pass


def test_each_epoch_has_an_order_of_its_own_in_which_each_place_is_as_likely():
    orders = np.array([shuffled(10, 7, epoch) for epoch in range(20_000)])
    assert (np.sort(orders) == np.arange(10)).all()
    assert (shuffled(10, 7, 0) == orders[0]).all() and len(shuffled(1, 7, 0)) == 1
    assert (
        (np.array([shuffled(10, 8, epoch) for epoch in range(9)]) != orders[:9]).any(axis=1).all()
    )
    # Pairs of (place, number), and of neighbours, are binomial: 5 standard deviations.
    seen = np.array([np.bincount(column, minlength=10) for column in orders.T])
    assert np.abs(seen - 2000).max() < 5 * np.sqrt(20_000 * 0.1 * 0.9)
    pairs = np.bincount(orders[:, 0] * 10 + orders[:, 1], minlength=100).reshape(10, 10)
    off = ~np.eye(10, dtype=bool)
    assert np.abs(pairs[off] - 20_000 / 90).max() < 5 * np.sqrt(20_000 / 90)
    later = np.bincount(orders[:-1, 0] * 10 + orders[1:, 0], minlength=100)
    assert np.abs(later - 200).max() < 5 * np.sqrt(200)


def test_a_feed_serves_again_as_long_as_its_program_holds():
    (X, y), made = data(0), trainer()
    feed = made.step.feed(X, y, 16)
    y[0] = 5  # out of range, but not looked at again
    assert made.step.feed(X, y, 16, earlier=feed) is feed
    made.model.eval()
    with pytest.raises(ValueError, match="label 5"):
        made.step.feed(X, y, 16, earlier=feed)
    y[0] = 0
    assert made.step.feed(X, y, 16, earlier=feed) is not feed
    made.model.train()
    assert made.step.feed(X, y, 16, earlier=feed) is feed


def test_rounds_are_epochs_and_measurements():
    (X, y), held = data(0), data(1, 41)
    one, other = trainer(), trainer()
    training, measuring = feeds(one, X, y, held)
    stretches = stretch(32, 4)
    results, bad_row, exploded = run_rounds(training, measuring, 5, 2, 69, stretches, 1e9, nothing)
    assert bad_row is None and exploded is None and len(results) == 4
    for epoch, row in enumerate(results, 2):
        other.model.train()
        loss = other.step.epoch(X, y, shuffled(70, 5, epoch)[:69], 16)
        other.model.eval()
        _, *measured = other.measuring.measure(*held, 32)
        assert row[0] == pytest.approx(loss, rel=1e-12)  # sums of stretches: another order
        assert [*row[1:5], bool(row[5])] == measured
    for key, values in one.model.state_dict().items():
        assert np.array_equal(values, other.model.state_dict()[key]), key


def test_a_loss_that_is_not_finite_ends_a_training_at_its_batch():
    (X, y), held = data(0), data(1)
    # The row that the first epoch leaves out and the second one meets.
    row = shuffled(70, 5, 0)[-1]
    (place,) = np.flatnonzero(shuffled(70, 5, 1) == row)
    assert 16 <= place < 64
    X[row] = np.inf
    made = trainer()
    training, measuring = feeds(made, X, y, held)
    results, bad_row, exploded = run_rounds(
        training, measuring, 5, 0, 69, stretch(16, 3), 1e9, nothing
    )
    assert len(results) == 1 and bad_row == place // 16 * 16 and exploded is None
    assert np.isfinite(made.model[0].weight.data).all()


def test_a_stretch_beyond_the_limit_ends_a_training():
    (X, y), held = data(0), data(1)
    made = trainer(lr=1000.0)
    training, measuring = feeds(made, X, y, held)
    results, bad_row, exploded = run_rounds(
        training, measuring, 5, 0, 70, stretch(32, 9), 3.0, nothing
    )
    assert bad_row is None and exploded > 3 and len(results) < 9


def test_a_measurement_that_is_not_finite_is_the_last():
    (X, y), (X_held, y_held) = data(0), data(1)
    X_held[3] = np.nan
    training, measuring = feeds(trainer(), X, y, (X_held, y_held))
    results, *_ = run_rounds(training, measuring, 5, 0, 70, stretch(70, 3), 1e9, nothing)
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
        run_rounds(training, measuring, 5, 0, 70, stretch(70, 20_000), 1e9, give_up)
    assert len(looks) == 1
    results, *_ = run_rounds(training, measuring, 5, 0, 70, stretch(70, 1), 1e9, nothing)
    assert len(results) == 1


def test_what_does_not_fit_is_refused():
    (X, y), held = data(0), data(1)
    training, measuring = feeds(trainer(), X, y, held)
    for examples in (0, 71):
        with pytest.raises(ValueError, match="expected 1 to 70"):
            run_rounds(training, measuring, 5, 0, examples, stretch(70, 1), 1e9, nothing)
    for stretches in (stretch(70, 0), stretch(0, 1)):
        with pytest.raises(ValueError, match="stretch"):
            run_rounds(training, measuring, 5, 0, 70, stretches, 1e9, nothing)
    with pytest.raises(ValueError, match="last batch would have 1"):
        run_rounds(training, measuring, 5, 0, 65, stretch(70, 1), 1e9, nothing)


def test_what_only_measures_has_no_backward_pass():
    X, y = data(0)
    made = trainer()
    made.evaluate(X, y)
    names = made.measuring.programs.lowered.program.kernel_names
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
