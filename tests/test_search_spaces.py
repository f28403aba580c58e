"""What a search may try, and which rows it uses."""

import math

import numpy as np
import pytest
from search_builds import FixedValues

from fastnn.search import GroupKFold, KFold, Space, StratifiedKFold
from fastnn.search.coarse import narrowed_range
from fastnn.search.space import Choice, Distribution, Integers, LogUniform, Uniform, is_log_name
from fastnn.search.splits import make_splits

stats = pytest.importorskip("scipy.stats")


def test_what_becomes_of_each_kind():
    space = Space(
        {
            "lr": (1e-4, 1e-1),
            "momentum": (0.5, 0.99),
            "hidden": (16, 64),
            "activation": ["relu", "tanh"],
            "a": stats.loguniform(1e-3, 1e3),
            "b": stats.uniform(2, 3),
            "c": stats.randint(3, 9),
            "d": stats.norm(0, 2),
            "e": FixedValues(),
        }
    )
    assert space["lr"] == LogUniform(1e-4, 1e-1)
    assert space["momentum"] == Uniform(0.5, 0.99)
    assert space["hidden"] == Integers(16, 64)
    assert space["activation"] == Choice(("relu", "tanh"))
    assert space["a"] == LogUniform(1e-3, 1e3)
    assert space["b"] == Uniform(2, 5)
    assert space["c"] == Integers(3, 8)
    assert isinstance(space["d"], Distribution) and space["d"].has_scale
    assert isinstance(space["e"], Distribution) and not space["e"].has_scale
    # Only a plain range is said to be taken in log space: a distribution says it itself.
    assert space.notes == ["lr: the range 0.0001 to 0.1 is taken in log space"]
    values = space.sample(np.random.default_rng(0))
    assert list(values) == list(space)
    assert all(not isinstance(value, np.generic) for value in values.values())


@pytest.mark.parametrize("name", ["lr", "learning_rate", "head_lr", "weight_decay", "l2", "LR"])
def test_names_in_log_space(name):
    assert is_log_name(name)
    with pytest.raises(ValueError, match="expected low above 0"):
        Space({name: (0, 1)})


@pytest.mark.parametrize("name", ["hidden", "momentum", "dropout", "colour", "color"])
def test_names_that_are_not(name):
    assert not is_log_name(name)


@pytest.mark.parametrize(
    "given, message",
    [
        ((1, 2, 3), "expected a range"),
        ((2, 1), "low below high"),
        ((0.0, math.inf), "finite"),
        (("a", "b"), "values to choose from are a list"),
        ([], "empty list"),
        (3.0, "got float, expected a distribution"),
    ],
)
def test_wrong_dimensions(given, message):
    with pytest.raises((ValueError, TypeError), match=f"space: x: .*{message}"):
        Space({"x": given})


@pytest.mark.parametrize(
    "dimension, transformed",
    [
        (LogUniform(1e-4, 1e2), stats.uniform(math.log(1e-4), math.log(1e6))),
        (Uniform(-2, 3), stats.uniform(-2, 5)),
    ],
)
def test_draws_follow_the_distribution(dimension, transformed):
    rng = np.random.default_rng(0)
    draws = np.array([dimension.draw(rng) for _ in range(2000)])
    if dimension.is_log:
        draws = np.log(draws)
    assert stats.kstest(draws, transformed.cdf).pvalue > 0.01


def test_whole_numbers_are_equally_likely():
    rng = np.random.default_rng(0)
    draws = [Integers(3, 7).draw(rng) for _ in range(5000)]
    counts = np.bincount(draws)[3:]
    assert len(counts) == 5 and stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize(
    "dimension",
    [
        LogUniform(1e-4, 1e2),
        Uniform(-2, 3),
        Integers(3, 900),
        Distribution(stats.norm(1, 2)),
    ],
)
def test_positions_are_the_inverse_of_values(dimension):
    for position in (0.01, 0.3, 0.77, 0.99):
        value = dimension.at(position)
        assert dimension.position(value) == pytest.approx(position, abs=1e-3)
    part = dimension.part(0.25, 0.75)
    assert part.at(0.5) == pytest.approx(dimension.at(0.5), rel=1e-2)
    assert dimension.position(part.at(1e-9)) == pytest.approx(0.25, abs=2e-3)


def test_narrowing_in_log_space():
    dimension = LogUniform(1e-4, 1.0)
    part, notes = narrowed_range("lr", dimension, [1e-2, 3e-3, 3e-2])
    assert not notes
    assert part.low == pytest.approx(3e-3 / 10**0.4) and part.high == pytest.approx(3e-2 * 10**0.4)
    part, _ = narrowed_range("lr", dimension, [1e-2, 2e-4, 0.5])  # no more than half of the range
    assert part.low == pytest.approx(1e-3) and part.high == pytest.approx(1e-1)


def test_widening_at_a_border():
    part, notes = narrowed_range("lr", LogUniform(1e-4, 1.0), [1.2e-4, 2e-4, 3e-4])
    assert part.low < 2e-5 and "lower border" in notes[0]
    part, notes = narrowed_range("hidden", Integers(4, 64), [64, 63, 60])
    assert part.high > 64 and "upper border" in notes[0]
    # What no range may leave: whole numbers stay above 0, shares between 0 and 1.
    part, _ = narrowed_range("hidden", Integers(4, 64), [4, 5, 6])
    assert part.low == 1
    part, _ = narrowed_range("momentum", Uniform(0.0, 1.0), [0.99, 0.9, 0.95])
    assert part.high == 1.0 and part.low >= 0.7


# -- rows -------------------------------------------------------------------------------------


@pytest.fixture
def labels(rng):
    return rng.integers(0, 4, 103)


@pytest.mark.parametrize("kind", [KFold, StratifiedKFold, GroupKFold])
def test_each_row_is_held_out_once(kind, labels, rng):
    groups = rng.integers(0, 20, 103)
    X = np.zeros((103, 2))
    splits = list(kind(5, seed=1).split(X, labels, groups))
    held = np.concatenate([held for _, held in splits])
    assert sorted(held) == list(range(103))
    for rows, held in splits:
        assert sorted([*rows, *held]) == list(range(103))
        if kind is GroupKFold:
            assert not set(groups[rows]) & set(groups[held])
        else:
            assert len(held) in (20, 21)
        if kind is StratifiedKFold:
            for label in range(4):
                share = (labels == label).sum() / 5
                assert abs((labels[held] == label).sum() - share) < 1
    again = list(kind(5, seed=1).split(X, labels, groups))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(splits, again, strict=True))


def test_defaults_by_kind_of_target(labels, rng):
    X = rng.standard_normal((103, 2))
    for targets, expected in ((labels, StratifiedKFold(5, 3)), (X, KFold(5, 3))):
        _, _, splits = make_splits(X, targets, None, None, None, 3)
        wanted = list(expected.split(X, targets))
        assert all(np.array_equal(a[1], b[1]) for a, b in zip(splits, wanted, strict=True))
    groups = rng.integers(0, 20, 103)
    for rows, held in make_splits(X, labels, 4, None, groups, 0)[2]:
        assert not set(groups[rows]) & set(groups[held])


def test_splitters_of_scikit_learn(labels):
    model_selection = pytest.importorskip("sklearn.model_selection")
    X = np.zeros((103, 2))
    for splitter in (
        model_selection.StratifiedKFold(4),
        model_selection.ShuffleSplit(3, random_state=0),
        model_selection.TimeSeriesSplit(3),
    ):
        _, _, splits = make_splits(X, labels, splitter, None, None, 0)
        for ours, theirs in zip(splits, splitter.split(X, labels), strict=True):
            assert np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])
    leave_groups = model_selection.LeaveOneGroupOut()
    assert len(make_splits(X, labels, leave_groups, None, np.arange(103) % 3, 0)[2]) == 3


def test_validation_data_and_share(labels, rng):
    X = rng.standard_normal((103, 2))
    joined, targets, ((rows, held),) = make_splits(X, labels, None, (X[:9], labels[:9]), None, 0)
    assert np.array_equal(joined[rows], X) and np.array_equal(targets[held], labels[:9])
    _, _, ((rows, held),) = make_splits(X, labels, None, 0.2, None, 0)
    assert len(held) == 21 and sorted([*rows, *held]) == list(range(103))


def test_too_few_of_a_class():
    with pytest.raises(ValueError, match="got 2 examples of class 1, expected 3 or more"):
        list(StratifiedKFold(3).split(np.zeros(9), np.array([0] * 7 + [1] * 2)))
