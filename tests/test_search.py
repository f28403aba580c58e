"""Random and grid search, coarse to fine, halving, cross-validation."""

import math
import time
import warnings

import numpy as np
import pytest
from search_builds import SPACE, build, search, small_digits

import fastnn
from fastnn import nn, optim, preprocessing
from fastnn.search import (
    RangeWarning,
    SuccessiveHalving,
    coarse_to_fine,
    cross_validate,
    grid_search,
    random_search,
)


@pytest.fixture(scope="module")
def result():
    return search()


@pytest.fixture
def digits():
    return small_digits()


def test_random_search(result):
    assert [trial.number for trial in result.trials] == list(range(8))
    finished = [trial for trial in result.trials if trial.status == "finished"]
    assert result.best.score == max(trial.score for trial in finished) > 0.85
    assert all(len(trial.folds) == 3 for trial in finished)
    for trial in finished:
        assert trial.score == np.mean([fold.score for fold in trial.folds])
        assert all(fold.score == max(fold.scores) for fold in trial.folds)
        assert 1e-3 <= trial.params["lr"] <= 30 and trial.params["hidden"] in (8, 16)
    assert result.metric == "accuracy" and result.maximize
    assert result.notes[0] == "lr: the range 0.001 to 30 is taken in log space"
    assert len(result.notes) == 2


def test_a_trial_depends_on_the_seed_and_its_number_alone(result):
    assert search(n_trials=3).trials == result.trials[:3]
    assert search(workers=1).to_dict() == result.to_dict()
    assert search(n_trials=3, seed=6).trials != result.trials[:3]


def test_searches_leave_the_process_generator_alone(digits):
    fastnn.manual_seed(3)
    expected = fastnn.random.generator().random()
    fastnn.manual_seed(3)
    search(n_trials=1, workers=1)
    assert fastnn.random.generator().random() == expected


def test_manual_seed_in_build_is_the_trials_own(digits):
    weights = []

    def seeded(params):
        fastnn.manual_seed(0)
        built = build({"lr": 0.1})
        weights.append(built[0][0].weight.data.copy())
        return built

    fastnn.manual_seed(3)
    expected = fastnn.random.generator().random()
    fastnn.manual_seed(3)
    random_search(seeded, {"unused": [1, 2]}, *digits, n_trials=2, epochs=1, workers=2)
    assert fastnn.random.generator().random() == expected
    assert len(weights) == 10 and all(np.array_equal(weights[0], other) for other in weights)


def test_divergence_is_recorded_and_stops_the_trial(digits):
    X, y = digits
    result = grid_search(
        build, {"lr": [1e-2, 1e3, 1e30]}, X / 16, y, epochs=4, validation=0.25, batch_size=16
    )
    well, exploded, infinite = result.trials
    assert well.status == "finished" and len(well.folds[0].losses) == 4
    for trial in (exploded, infinite):
        assert trial.status == "diverged" and trial.score is None
        assert len(trial.folds) == 1 and len(trial.folds[0].losses) == 1
        assert math.isclose(trial.folds[0].first_loss, math.log(10), rel_tol=0.1)
    assert exploded.params == {"lr": 1e3}
    assert "more than 3 times the first" in exploded.reason
    assert exploded.folds[0].losses[0] > 3 * exploded.folds[0].first_loss
    assert "not finite in epoch 0" in infinite.reason and infinite.folds[0].losses == (None,)
    assert result.best is well


@pytest.mark.parametrize("metric", [None, "loss", lambda y, predicted: 0.5])
def test_what_is_held_out_shows_the_divergence_first(digits, metric):
    """After one step for an epoch the weights are huge, and the loss before it was finite."""
    X, y = digits
    options = {"epochs": 1, "validation": 0.25, "batch_size": len(X), "metric": metric}
    result = grid_search(build, {"lr": [1e-2, 1e37]}, X / 16, y, **options)
    assert [trial.status for trial in result.trials] == ["finished", "diverged"]
    assert "what is held out is not finite in epoch 0" in result.trials[1].reason
    assert result.trials[1].folds[0].scores == (None,)


def test_all_diverged(digits):
    result = grid_search(build, {"lr": [1e4, 1e5]}, *digits, epochs=1)
    with pytest.raises(ValueError, match="all 2 trials diverged"):
        _ = result.best
    assert result.to_dict()["best"] is None
    assert "2 diverged" in str(result)


def test_the_first_loss_leaves_running_averages(digits):
    """As the course has it, before any update; a network in training mode."""
    from fastnn.search.fold import first_loss

    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    before = model.state_dict()
    X, y = digits
    X = X.astype(np.float32)
    loss = first_loss(trainer, X, y, np.arange(64))
    assert abs(loss - math.log(10)) < 0.5
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_early_stopping(digits):
    X, y = digits
    options = {"epochs": 12, "validation": 0.3, "batch_size": 32}
    space = {"lr": [0.5]}
    fold = grid_search(build, space, X / 16, y, early_stopping=2, **options).trials[0].folds[0]
    assert fold.stopped == "no better for 2 epochs" and len(fold.scores) == fold.best_epoch + 3
    assert fold.score == fold.scores[fold.best_epoch] == max(fold.scores)
    fold = grid_search(build, space, X / 16, y, early_stopping=False, **options).trials[0].folds[0]
    assert len(fold.scores) == 12 and fold.score == fold.scores[-1] and fold.stopped is None


def test_grid(digits):
    space = {"lr": (1e-3, 1e-1), "hidden": [8, 16]}
    result = grid_search(build, space, *digits, n_trials=7, epochs=1, cv=2)
    assert [trial.params["hidden"] for trial in result.trials] == [8, 16] * 3
    lrs = [trial.params["lr"] for trial in result.trials[::2]]
    np.testing.assert_allclose(lrs, [1e-3, 1e-2, 1e-1], rtol=1e-12)
    with pytest.raises(ValueError, match="n_trials=1, expected 2 or more"):
        grid_search(build, space, *digits, n_trials=1)
    with pytest.raises(ValueError, match="no n_trials, expected a number: lr are ranges"):
        grid_search(build, space, *digits)


def test_metrics(digits):
    X, y = digits

    def errors(targets, predictions):
        assert predictions.shape == targets.shape
        return int((targets != predictions).sum())

    options = {"n_trials": 4, "epochs": 2, "validation": 0.25, "seed": 1}
    space = {"lr": (1e-4, 1.0)}
    by_errors = random_search(build, space, X / 16, y, metric=errors, maximize=False, **options)
    by_accuracy = random_search(build, space, X / 16, y, **options)
    assert by_errors.metric == "errors"
    assert by_errors.best.number == by_accuracy.best.number
    assert by_errors.best.score == round((1 - by_accuracy.best.score) * 75)
    by_loss = random_search(build, space, X / 16, y, metric="loss", **options)
    assert not by_loss.maximize
    assert by_loss.best.score == min(trial.score for trial in by_loss.trials)


def test_labels_of_a_loss_that_has_none(digits):
    def regression(params):
        return nn.Linear(64, 1), nn.MSELoss(), optim.SGD(lr=1e-3)

    X, y = digits[0] / 16, digits[1]
    with pytest.raises(
        ValueError, match="MSELoss has no labels to be right about; expected metric"
    ):
        random_search(regression, {"a": [1]}, X, y[:, None], n_trials=1, metric="accuracy")
    result = random_search(regression, {"a": [1]}, X, y[:, None], n_trials=1, epochs=1)
    assert result.metric == "loss" and not result.maximize


def test_a_metric_that_is_nan_does_not_win(digits):
    def broken(targets, predictions):
        return float("nan")

    result = random_search(build, {"lr": [0.1]}, *digits, n_trials=1, epochs=1, metric=broken)
    assert result.trials[0].status == "diverged" and "metric is nan" in result.trials[0].reason


@pytest.mark.parametrize("score", [None, np.ones(2), "0.5"])
def test_a_metric_that_is_no_number(digits, score):
    options = {"epochs": 1, "n_trials": 1, "metric": lambda targets, predictions: score}
    with pytest.raises(TypeError, match="metric: <lambda> returned .*, expected a number"):
        random_search(build, {"lr": [0.01]}, *digits, **options)


def test_regression_and_several_inputs(rng):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 1), nn.Linear(2, 1)

        def forward(self, inputs):
            a, b = inputs
            return self.first(a) + self.second(b)

    def build_two(params):
        return Two(), nn.MSELoss(), optim.SGD(lr=params["lr"])

    a, b = rng.standard_normal((90, 3)), rng.standard_normal((90, 2))
    y = a[:, :1] - b[:, 1:]
    result = random_search(
        build_two, {"lr": (1e-3, 0.3)}, (a, b), y, n_trials=4, epochs=20, cv=3, batch_size=8
    )
    assert result.metric == "loss" and not result.maximize and result.best.score < 0.05


def test_batch_of_one_left_over(digits):
    def with_batchnorm(params):
        model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
        return model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1)

    X, y = small_digits(33 + 10)
    split = [(np.arange(33), np.arange(33, 43))]
    result = random_search(
        with_batchnorm, {"a": [1]}, X, y, n_trials=1, epochs=1, cv=split, batch_size=32
    )
    assert result.trials[0].status == "finished"


def test_halving(digits):
    X, y = digits
    assert SuccessiveHalving(3).rungs(27, 9) == [(27, 1), (9, 3), (3, 9)]
    assert SuccessiveHalving(2, min_epochs=3).rungs(10, 12) == [(10, 3), (5, 6), (2, 12)]
    assert SuccessiveHalving(3).rungs(2, 100) == [(2, 100)]
    options = {"epochs": 4, "validation": 0.25, "seed": 2}
    space = {"lr": (1e-4, 10.0)}
    result = random_search(build, space, X / 16, y, n_trials=8, halving=2, **options)
    by_rung = [[t for t in result.trials if t.stage == rung] for rung in range(3)]
    assert [len(trials) for trials in by_rung] == [8, 4, 2]
    assert [trials[0].epochs for trials in by_rung] == [1, 2, 4]
    best = sorted((t for t in by_rung[0] if t.score is not None), key=lambda t: -t.score)[:4]
    assert {t.number for t in by_rung[1]} == {t.number for t in best}
    assert result.best.epochs == 4
    # The longer training of a trial begins with the shorter one.
    for longer in by_rung[1]:
        shorter = by_rung[0][longer.number]
        assert shorter.params == longer.params
        assert shorter.folds[0].losses == longer.folds[0].losses[:1]
    full = random_search(build, space, X / 16, y, n_trials=8, **options)
    assert result.best == full.trials[result.best.number].__class__(
        **{**vars(full.trials[result.best.number]), "stage": 2}
    )


def test_coarse_to_fine(digits):
    X, y = digits
    space = {"lr": (1e-6, 1e3), "hidden": [4, 8, 16, 32]}
    result = coarse_to_fine(
        build, space, X / 16, y, stages=[(12, 2), (6, 3), (3, 4)], validation=0.3, batch_size=16
    )
    assert [t.number for t in result.trials] == list(range(21))
    assert [t.stage for t in result.trials] == [0] * 12 + [1] * 6 + [2] * 3
    widths = [math.log(space["lr"].high / space["lr"].low) for space in result.spaces]
    assert widths[0] > 1.9 * widths[1] > 1.9 * widths[2]
    for trial in result.trials:
        lr = result.spaces[trial.stage]["lr"]
        assert lr.low <= trial.params["lr"] <= lr.high
    assert result.best.epochs == 4 and result.best.score > 0.8


def test_best_at_the_border(digits):
    """Ranges that end below where learning begins: the next goes beyond, and a warning says so."""
    X, y = digits
    with pytest.warns(RangeWarning, match="best lr, .* lies at the upper border of its range"):
        result = coarse_to_fine(
            build,
            {"lr": (1e-4, 1e-3)},
            X / 16,
            y,
            stages=[(25, 1), (5, 1)],
            validation=0.3,
            batch_size=16,
            metric="loss",
        )
    assert result.spaces[1]["lr"].high > 1e-3
    assert any("upper border" in note for note in result.notes)


def test_a_whole_stage_diverges(digits):
    with pytest.warns(RangeWarning, match="all 2 trials diverged"):
        result = coarse_to_fine(build, {"lr": (1e3, 1e5)}, *digits, stages=[(2, 1), (2, 1)])
    assert result.spaces[0].describe() == result.spaces[1].describe()


def test_cross_validate(digits):
    X, y = digits
    result = cross_validate(build, {"lr": 0.1}, X / 16, y, epochs=3, cv=4, batch_size=32)
    assert len(result.scores) == 4 and result.mean == np.mean(result.scores) > 0.7
    assert result.std == np.std(result.scores)
    trial = grid_search(build, {"lr": [0.1]}, X / 16, y, epochs=3, cv=4, batch_size=32).trials[0]
    assert trial.folds == result.folds
    diverged = cross_validate(build, {"lr": 1e6}, X, y, epochs=1, cv=2)
    assert diverged.mean is None and "diverged" in str(diverged)


class Recorder:
    """Remembers what each fold fitted on."""

    seen: list = []

    def fit(self, X):
        Recorder.seen.append(X[:, 0].astype(int).tolist())
        return self

    def transform(self, X):
        return X


def test_preprocessing_is_fitted_inside_each_fold(digits):
    X, y = digits
    X = X.astype(np.float64)
    X[:, 0] = np.arange(len(X))  # names the row
    splits = list(fastnn.search.KFold(3).split(X))
    for given in (Recorder, Recorder(), lambda: Recorder(), [Recorder()]):
        Recorder.seen = []
        cross_validate(
            build, {"lr": 1e-4}, X, y, epochs=1, cv=splits, preprocessing=given, workers=1
        )
        assert Recorder.seen == [rows.tolist() for rows, _ in splits]


def test_the_callers_transformer_stays_unfitted(digits):
    standardize = preprocessing.Standardize()
    cross_validate(build, {"lr": 0.1}, *digits, epochs=1, preprocessing=standardize)
    assert not hasattr(standardize, "mean_")


def test_transformers_of_scikit_learn(digits):
    feature_selection = pytest.importorskip("sklearn.feature_selection")
    from sklearn.preprocessing import StandardScaler

    def build_small(params):
        return nn.Linear(20, 10), nn.CrossEntropyLoss(), optim.SGD(lr=0.1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant pixels
        result = cross_validate(
            build_small,
            {},
            *digits,
            epochs=10,
            preprocessing=[StandardScaler, feature_selection.SelectKBest(k=20)],
        )
    assert result.mean > 0.8


def test_errors_of_build_end_the_search_and_name_the_trial(digits):
    def broken(params):
        if params["lr"] > 0:
            raise KeyError("there is none")

    with pytest.raises(KeyError) as caught:
        random_search(broken, {"lr": [0.1]}, *digits, n_trials=3)
    assert "in trial 0 with {'lr': 0.1}" in caught.value.__notes__


def test_an_error_gives_up_the_other_trials(digits):
    def long_or_broken(params):
        if params["broken"]:
            raise KeyError("there is none")
        return build({"lr": 1e-3})

    started = time.perf_counter()
    with pytest.raises(KeyError):
        grid_search(
            long_or_broken,
            {"broken": [0, 1]},
            *digits,
            epochs=10**6,
            early_stopping=False,
            workers=2,
        )
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    "options, message",
    [
        ({"build": 3}, "build: got int, expected a function"),
        ({"build": lambda params: nn.Linear(64, 10)}, "build: returned Linear, expected .model"),
        ({"space": 3}, "space: got int, expected a mapping"),
        ({"space": {}}, "space: got no hyperparameter"),
        ({"cv": 1}, "got cv=1, expected a whole number of 2"),
        ({"cv": "five"}, "cv: got 'five', expected a number, a splitter or pairs"),
        ({"cv": 3, "validation": 0.2}, "got cv and validation, expected one"),
        ({"validation": (np.zeros((3, 5)), np.zeros(3))}, r"shape \(3, 5\), expected \(N, 64\)"),
        ({"cv": [(np.arange(3), np.array([400]))]}, "rows from 400 to 400, expected 0 to 299"),
        ({"metric": "f1"}, "metric: got 'f1', expected 'accuracy', 'loss'"),
        ({"y": np.zeros(7, int)}, r"X and y of \[300, 7\] examples"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"seed": -1}, "seed=-1"),
        ({"preprocessing": 3}, "preprocessing: got int, expected an object with fit"),
        ({"executor": 3}, "executor: got int, expected a concurrent.futures.Executor"),
        ({"workers": 0}, "workers=0"),
        ({"groups": np.zeros(4)}, r"groups of shape \(300,\), got shape \(4,\)"),
    ],
)
def test_wrong_arguments(digits, options, message):
    X, y = digits
    arguments = {"build": build, "space": SPACE, "X": X, "y": y, "n_trials": 1, **options}
    with pytest.raises((ValueError, TypeError), match=message):
        random_search(**arguments, epochs=1)


@pytest.mark.parametrize("shared", ["model", "optimizer"])
def test_build_makes_new_models(digits, shared):
    """One that all trials train would go on from where the one before ended."""
    X, y = digits
    held = build({"lr": 0.1})

    def build_again(params):
        model, loss, optimizer = build(params)
        return (held[0], loss, optimizer) if shared == "model" else (model, loss, held[2])

    message = f"returned a {shared} that another training has had"
    with pytest.raises(ValueError, match=message):
        random_search(build_again, SPACE, X, y, n_trials=2, epochs=1, validation=0.2)
    with pytest.raises(ValueError, match=message):
        cross_validate(build_again, {"lr": 0.1}, X, y, epochs=1, cv=2)


def test_parameters_of_a_cross_validation(digits):
    with pytest.raises(TypeError, match="got NoneType as params"):
        cross_validate(build, None, *digits)


def test_table_and_dataframe(result):
    text = str(result)
    assert "lr: the range 0.001 to 30 is taken in log space" in text
    assert f"{result.best.score:.4f}" in text
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = result.to_dataframe()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 8
    assert frame.score.max() == result.best.score and frame.lr[2] == result.trials[2].params["lr"]


def test_without_pandas(result, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas"):
        result.to_dataframe()
