"""The pictures of a search show its trials."""

import numpy as np
import pytest
from search_builds import SPACE, build, search, small_digits

import fastnn
from fastnn.search.plots import Axis, explained

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def result():
    return search(n_trials=16, cv=2)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def points(ax):
    """What is scattered on an axis, as one array."""
    return np.concatenate([np.asarray(drawn.get_offsets()) for drawn in ax.collections])


def test_scatter(result):
    ax = result.plot_scatter()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "weight_decay")
    assert ax.get_xscale() == ax.get_yscale() == "log"
    drawn = {tuple(point) for point in points(ax)}
    assert drawn == {(t.params["lr"], t.params["weight_decay"]) for t in result.trials}
    diverged = sum(trial.status == "diverged" for trial in result.trials)
    assert 0 < diverged and f"16 trials, {diverged} diverged" in ax.get_title()
    ring = ax.collections[-1].get_offsets()
    np.testing.assert_array_equal(ring, [[result.best.params[n] for n in ("lr", "weight_decay")]])


def test_scatter_of_a_pair_on_an_axis_that_was_given(result):
    _, given = plt.subplots()
    ax = result.plot_scatter("hidden", "lr", ax=given)
    assert ax is given and ax.get_xlabel() == "hidden" and ax.get_ylabel() == "lr"
    with pytest.raises(ValueError, match="got 'depth', expected one of"):
        result.plot_scatter("depth")


def test_marginals(result):
    axes = result.plot_marginals()
    assert [ax.get_xlabel() for ax in axes] == list(SPACE)
    finished = [trial for trial in result.trials if trial.score is not None]
    drawn = {tuple(point) for point in np.asarray(axes[0].collections[0].get_offsets())}
    assert drawn == {(trial.params["lr"], trial.score) for trial in finished}
    low, high = axes[0].get_xlim()
    assert all(low <= trial.params["lr"] <= high for trial in result.trials), "diverged ones too"
    with pytest.raises(ValueError, match="axes: got 1, expected 3"):
        result.plot_marginals(plt.subplots()[1])


def test_plot(result):
    axes = result.plot()
    assert len(axes) == 4
    axes[0].figure.canvas.draw()
    _, given = plt.subplots(2, 2)
    assert set(result.plot(axes=given)) == set(given.ravel())


def test_random_versus_grid(result):
    axes = result.plot_random_versus_grid()
    assert axes.shape == (2, 2)
    name = axes[1, 0].get_xlabel()
    assert name == "lr"  # which matters most, since most of its range diverges or learns nothing
    grid, random = (points(axes[1, column]) for column in (0, 1))
    assert len(grid) == len(random) == 8  # hidden has two values only
    assert len(set(grid[:, 0])) == 4 and len(set(random[:, 0])) == 8
    axes[0, 0].figure.canvas.draw()
    left, right = (axis.title.get_window_extent() for axis in axes[0])
    assert left.x1 < right.x0  # the titles lie side by side


def test_every_kind_of_result_can_be_drawn():
    X, y = small_digits()
    space = {"lr": (1e-3, 10.0), "hidden": [8, 16], "activation": ["a", "b"], "one": [1]}
    options = {"validation": 0.25, "preprocessing": fastnn.preprocessing.Standardize}
    for found in (
        fastnn.search.grid_search(build, space, X, y, 16, 1, **options),
        fastnn.search.random_search(build, space, X, y, 9, 4, halving=2, metric="loss", **options),
        fastnn.search.coarse_to_fine(build, space, X, y, [(8, 1), (3, 2)], **options),
    ):
        axes = found.plot()
        assert len(axes) == 4  # "one" does not vary
        assert [tick.get_text() for tick in axes[3].get_xticklabels()] == ["a", "b"]
        axes[0].figure.canvas.draw()
        found.plot_random_versus_grid()[0, 0].figure.canvas.draw()
    diverged = fastnn.search.grid_search(build, {"lr": [1e4, 1e6]}, X, y, epochs=1)
    diverged.plot()[0].figure.canvas.draw()
    with pytest.raises(ValueError, match="0 finished trials, expected two or more"):
        diverged.plot_random_versus_grid()


def test_what_a_hyperparameter_explains(result, rng):
    lr = Axis(result, "lr")
    values = np.exp(rng.uniform(-3, 3, 200))
    assert explained(lr, list(values), values, True) > 0.95
    assert explained(lr, list(values), rng.random(200), True) < 0.1
