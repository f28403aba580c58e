"""The monitor: what it measures, when it warns, what it costs, and that it changes nothing."""

import time

import numpy as np
import pytest
from data import digits
from setups import HEALTHY, batchnorm_network, relu_network, seeded, sgd

import fastnn
from fastnn import diagnostics, nn, optim

LOSS = nn.CrossEntropyLoss()


def fit(model, callbacks=(), optimizer=None, epochs=4, X=None, **options):
    data, _, y, _ = digits()
    trainer = fastnn.Trainer(model, LOSS, optimizer or sgd())
    X = data if X is None else X
    trainer.fit(X, y, epochs, 32, callbacks=callbacks, seed=0, progress=False, **options)
    return trainer


@pytest.mark.parametrize("network", ["batchnorm", "convolutional"])
def test_a_watched_training_is_the_same_bit_by_bit(network):
    X, X_test, _, y_test = digits()
    shape = (-1, 1, 8, 8) if network == "convolutional" else (-1, 64)
    results = []
    for callbacks in ([], [diagnostics.Monitor(every=7)]):
        model = seeded(HEALTHY[network])
        validation = X_test.reshape(shape), y_test
        trainer = fit(model, callbacks, X=X.reshape(shape), validation_data=validation)
        results.append((model.state_dict(), trainer.history["loss"]))
    for key, array in results[0][0].items():
        assert array.tobytes() == results[1][0][key].tobytes(), key
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-12)


def test_what_it_measures():
    class Exact(fastnn.Callback):
        """Copies of everything before and after each step."""

        every_step = True

        def on_fit_start(self, trainer):
            self.weights, self.gradients = [trainer.model[0].weight.data.copy()], []

        def on_step_end(self, trainer, epoch, batch, loss):
            self.weights.append(trainer.model[0].weight.data.copy())
            self.gradients.append(trainer.model[0].weight.grad.copy())

    monitor, exact = diagnostics.Monitor(every=20), Exact()
    fit(seeded(relu_network), [monitor, exact], epochs=2)
    assert monitor.steps == [20, 40, 60, 80]
    assert list(monitor.updates) == ["0", "2", "4"] and list(monitor.dead) == ["0", "2"]
    for i, step in enumerate(monitor.steps):
        before, after = exact.weights[step - 1], exact.weights[step]
        ratio = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert monitor.updates["0"][i] == pytest.approx(ratio, rel=1e-4)
        norm = np.linalg.norm(exact.gradients[step - 1])
        assert monitor.gradients["0"][i] == pytest.approx(norm, rel=1e-4)


def test_units_are_looked_at_in_the_step_itself():
    """In float64 from the parameters before the step, with the statistics of its batch."""

    class Shares(fastnn.Callback):
        every_step = True

        def on_fit_start(self, trainer):
            self.before, self.saturated, self.dead = trainer.model.state_dict(), [], []

        def on_step_end(self, trainer, epoch, batch, loss):
            state = {key: array.astype(np.float64) for key, array in self.before.items()}
            x = trainer.last_batch()[0].astype(np.float64)
            sums = x @ state["0.weight"].T + state["0.bias"]
            normal = (sums - sums.mean(axis=0)) / np.sqrt(sums.var(axis=0) + 1e-5)
            hidden = np.tanh(normal * state["1.weight"] + state["1.bias"])
            self.saturated.append((np.abs(hidden[:16]) > np.sqrt(0.95)).mean())
            sums = hidden @ state["3.weight"].T + state["3.bias"]
            self.dead.append(sums[:16].max(axis=0) <= 0)
            self.before = trainer.model.state_dict()

    model = nn.Sequential(
        *(nn.Linear(64, 24), nn.BatchNorm1d(24), nn.Tanh()),
        *(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10)),
    )
    monitors, shares = [diagnostics.Monitor(every=5), diagnostics.Monitor(every=5)], Shares()
    nn.init.constant_(model[3].bias, -0.5)
    trainer = fit(model, [*monitors, shares], epochs=2)  # 45 steps an epoch, the last of 30 images
    for monitor in monitors:
        assert list(monitor.saturated) == ["1"] and list(monitor.dead) == ["3"]
        assert monitor.steps == list(range(5, 95, 5))
        for look, step in enumerate(monitor.steps):
            expected = shares.saturated[step - 1]
            assert monitor.saturated["1"][look] == pytest.approx(expected, abs=2 / (16 * 24))
            silent = np.all([shares.dead[s - 1] for s in monitor.steps[: look + 1][-6:]], axis=0)
            assert monitor.dead["3"][look] == silent.mean()
    assert 0 < max(monitors[0].dead["3"]) and 0 < max(monitors[0].saturated["1"])
    assert trainer.step.programs.lowered.program.taps.count == 0, "the training goes on unwatched"


def test_a_batch_smaller_than_what_is_looked_at():
    X, y = digits()[0][:30], digits()[2][:30]
    monitor = diagnostics.Monitor(every=2, warn=False)
    model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    nn.init.constant_(model[0].bias, -100.0)
    model[0].bias.data[:2] = 100
    fastnn.Trainer(model, LOSS, sgd()).fit(X, y, 2, 13, callbacks=[monitor], progress=False)
    assert monitor.dead["0"] == [0.75] * 3  # batches of 13 and 4


def test_a_large_layer_is_measured_by_a_sample(rng):
    monitor = diagnostics.Monitor(every=2)
    model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10))
    trainer = fastnn.Trainer(model, LOSS, optim.SGD(lr=0.1))
    trainer.fit(rng.normal(size=(64, 300)), np.arange(64) % 10, 1, 32, callbacks=[monitor])
    exact = np.linalg.norm(model[0].weight.grad)
    assert monitor.gradients["0"][0] == pytest.approx(exact, rel=0.1)


def test_a_healthy_training_is_not_warned_of():
    for build in HEALTHY.values():
        X = digits()[0].reshape(-1, 1, 8, 8) if build is HEALTHY["convolutional"] else None
        monitor = diagnostics.Monitor(every=10)
        fit(seeded(build), [monitor], X=X)
        assert monitor.warnings == []


def test_dead_units_are_warned_of():
    model = seeded(relu_network)
    model[2].bias.data[:26] = -20
    monitor = diagnostics.Monitor(every=10)
    with pytest.warns(diagnostics.TrainingWarning, match="layer 2: 8. % of units dead since step"):
        fit(model, [monitor])
    assert len(monitor.warnings) == 1 and "use leaky ReLU" in monitor.warnings[0]
    assert monitor.dead["2"][-1] == pytest.approx(26 / 32, abs=0.07)


def test_saturation_large_updates_and_missing_gradients_are_warned_of():
    model = seeded(HEALTHY["sigmoid"])
    model[0].weight.data[...] *= 50
    monitor = diagnostics.Monitor(every=10, warn=False)
    fit(model, [monitor])
    assert "saturated since step 10" in monitor.warnings[0]
    monitor = diagnostics.Monitor(every=2, warn=False)
    fit(seeded(batchnorm_network), [monitor], optimizer=sgd(10.0), epochs=1)
    assert any("updates of" in warning for warning in monitor.warnings)
    model = seeded(HEALTHY["tanh"])
    nn.init.zeros_(model[4].weight)
    monitor = diagnostics.Monitor(every=2, warn=False)
    frozen = optim.SGD([{"params": [model[0].weight, model[2].weight]}], lr=0.0)
    fit(model, [monitor], optimizer=frozen, epochs=1)
    assert any("layer 0: no gradient since step" in warning for warning in monitor.warnings)


def test_a_loss_that_grows_but_stays_finite_is_warned_of():
    class Faster(fastnn.Callback):
        """Raises the learning rate on the way."""

        def on_epoch_end(self, trainer, epoch, row):
            trainer.optimizer.lr = 40.0

    monitor = diagnostics.Monitor(every=10, warn=False)
    fit(seeded(HEALTHY["tanh"]), [monitor, Faster()], optimizer=sgd(0.01), epochs=4)
    (told,) = [text for text in monitor.warnings if text.startswith("the loss is")]
    assert "times that of the first look since step" in told
    assert told.endswith("lower the learning rate")
    assert all(np.isfinite(monitor.losses))


def test_a_second_fit_begins_anew_and_the_structure_may_change():
    model, monitor = seeded(relu_network), diagnostics.Monitor(every=10)
    fit(model, [monitor], epochs=1)
    first = list(monitor.steps)
    model.astype(np.float64)
    fit(model, [monitor], epochs=1)
    assert monitor.steps == first == [10, 20, 30, 40]


def test_plot():
    monitor = diagnostics.Monitor(every=10)
    fit(seeded(relu_network), [monitor], epochs=2)
    axes = monitor.plot()
    assert len(axes) == 4 and axes[1].get_yscale() == "log"
    assert monitor.plot(axes)[0] is axes[0]
    axes[0].figure.canvas.draw()
    for axis in axes[1:3]:
        low, high = axis.get_ylim()
        labels = [
            label.get_text()
            for place, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)
            if low <= place <= high
        ]
        assert any(labels), "a log scale of less than a decade has labels too"


def test_legends_of_many_layers_leave_room_for_the_lines():
    monitor = diagnostics.Monitor(every=10, warn=False)
    layers = [layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.ReLU())]
    fit(nn.Sequential(*layers, nn.Linear(64, 10)), [monitor], epochs=1)
    axes = monitor.plot()
    figure = axes[0].figure
    figure.canvas.draw()
    for axis in axes[1:3]:
        legend, place = axis.get_legend(), axis.get_window_extent()
        names = [text.get_text() for text in legend.get_texts()]
        assert (names[0], names[-1], len(names)) == ("0", "24", 8)
        assert legend.get_title().get_text() == "8 of 13 layers"
        assert legend.get_window_extent().height < place.height
        assert (
            len(
                {
                    line.get_color()
                    if isinstance(line.get_color(), str)
                    else tuple(line.get_color())
                    for line in axis.get_lines()
                }
            )
            >= 13
        )


def test_plot_where_no_gradient_is_left():
    monitor = diagnostics.Monitor(every=10, warn=False)
    network = seeded(relu_network)
    for layer in (network[0], network[2]):
        nn.init.constant_(layer.bias, -1000.0)
    fit(network, [monitor], epochs=1)
    assert set(monitor.gradients["0"]) == {0.0}
    assert monitor.plot()[2].get_yscale() == "linear"


def test_looks_cost_little():
    """At every 50 steps, looks take less than 3 % of the time of a small network's training."""

    class Timed(diagnostics.Monitor):
        seconds = 0.0

        def on_step_end(self, *arguments):
            started = time.perf_counter()
            super().on_step_end(*arguments)
            self.seconds += time.perf_counter() - started

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6400, 784)).astype(np.float32), rng.integers(0, 10, 6400)
    model = nn.Sequential(
        *(nn.Linear(784, 256), nn.BatchNorm1d(256), nn.ReLU()),
        *(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)),
    )
    trainer = fastnn.Trainer(model, LOSS, optim.SGD(lr=0.01))
    trainer.fit(X, y, 1, 64)
    shares, monitor = [], Timed()
    for _ in range(5):
        monitor.seconds = 0.0
        started = time.perf_counter()
        trainer.fit(X, y, 4, 64, callbacks=[monitor])
        shares.append(monitor.seconds / (time.perf_counter() - started))
    assert len(monitor.steps) == 8
    assert min(shares) < 0.03


def test_callbacks_choose_their_steps():
    class At(fastnn.Callback):
        def __init__(self, steps):
            self.steps, self.seen = steps, []

        def next_step(self, done):
            return next((step for step in self.steps if step > done), None)

        def on_step_end(self, trainer, epoch, batch, loss):
            inputs, targets = trainer.last_batch()
            self.seen.append((trainer.steps_done, epoch, batch, len(inputs), len(targets)))

    one, other = At([3, 45, 50]), At([45, 46])
    fit(seeded(relu_network), [one, other], epochs=3)  # 1438 examples: 45 steps, the last of 30
    assert one.seen == [(3, 0, 2, 32, 32), (45, 0, 44, 30, 30), (50, 1, 4, 32, 32)]
    assert other.seen == [(45, 0, 44, 30, 30), (46, 1, 0, 32, 32)]
    trainer = fastnn.Trainer(seeded(relu_network), LOSS, sgd())
    with pytest.raises(RuntimeError, match="no step has ended"):
        trainer.last_batch()


class Functional(nn.Module):
    """Shares a layer, and calls activations as functions: several of one name."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, x):
        x = nn.functional.relu(self.first(x))
        for _ in range(2):
            x = nn.functional.relu(x + nn.functional.tanh(self.shared(x)))
        return self.last(x)


@pytest.mark.parametrize("network", [Functional, lambda: nn.Linear(64, 10)])
def test_layers_of_one_name_and_of_none(network, recwarn):
    plt = pytest.importorskip("matplotlib.pyplot")
    monitor = diagnostics.Monitor(every=20)
    fit(seeded(network), [monitor])
    series = [*monitor.dead.values(), *monitor.saturated.values(), *monitor.updates.values()]
    assert all(len(values) == len(monitor.steps) for values in series)
    if network is Functional:
        assert list(monitor.saturated) == ["shared", "shared (use 2)"]
    for axis in monitor.plot()[1:3]:
        assert axis.get_legend() is not None
    plt.close("all")
    assert not [w for w in recwarn if not issubclass(w.category, diagnostics.TrainingWarning)]
