"""TrainingStep, Trainer, callbacks, divergence, interruption."""

import os
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from children import COMMAND, environment, run

import fastnn
from fastnn import nn, optim


def network(width=16, classes=3):
    return nn.Sequential(
        nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes)
    )


@pytest.fixture
def data(rng):
    X = rng.standard_normal((300, 6)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def train(data, how, seed=0):
    """The parameters after two epochs, by one of the three ways."""
    X, y = data
    fastnn.manual_seed(seed)
    model = network()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
    for epoch in range(2):
        order = np.random.default_rng(epoch).permutation(len(X))
        if how == "epoch":
            step.epoch(X, y, order, batch_size=64)
            continue
        for first in range(0, len(X), 64):
            rows = order[first : first + 64]
            if how == "call":
                step(X[rows], y[rows])
            else:
                step.forward(X[rows], y[rows])
                step.backward()
                step.update()
    return model.state_dict()


def test_three_ways_are_one(data):
    ways = [train(data, how) for how in ("call", "apart", "epoch")]
    for key in ways[0]:
        np.testing.assert_array_equal(ways[0][key], ways[1][key])
        np.testing.assert_array_equal(ways[0][key], ways[2][key])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_a_training(data, threads):
    fastnn.set_num_threads(1)
    expected = train(data, "epoch")
    fastnn.set_num_threads(threads)
    got = train(data, "epoch")
    for key in expected:
        np.testing.assert_array_equal(expected[key], got[key])


def test_seed_repeats_a_run_with_dropout(data):
    def run():
        fastnn.manual_seed(5)
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
        return trainer.fit(*data, epochs=2)["loss"]

    assert run() == run()


def test_fit_learns_and_reports(data):
    X, y = data
    trainer = fastnn.Trainer(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
    history = trainer.fit(X, y, epochs=20, validation_split=0.2, batch_size=32)
    assert set(history) >= {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert len(history["loss"]) == 20 and history["loss"][-1] < 0.5 * history["loss"][0]
    assert trainer.evaluate(X, y)["accuracy"] > 0.9
    assert trainer.predict(X).shape == (300,)
    np.testing.assert_allclose(trainer.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    assert (trainer.predict(X) == trainer.predict_proba(X).argmax(axis=1)).all()


def test_evaluate_leaves_the_model(data):
    trainer = fastnn.Trainer(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    trainer.fit(*data, epochs=1)
    before = trainer.model.state_dict()
    trainer.evaluate(*data)
    assert trainer.model.training
    for key, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_callbacks_and_early_stopping(data):
    seen = []

    class Watch(fastnn.Callback):
        every_step = True

        def on_step_end(self, trainer, epoch, batch, loss):
            seen.append((epoch, batch, loss))

    trainer = fastnn.Trainer(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.0))
    history = trainer.fit(
        *data,
        epochs=50,
        batch_size=100,
        validation_data=data,
        callbacks=[Watch(), fastnn.EarlyStopping("val_accuracy", patience=3)],
    )
    assert len(history["loss"]) < 50 and "early stopping" in history.stopped
    assert seen[:4] == [
        (0, 0, seen[0][2]),
        (0, 1, seen[1][2]),
        (0, 2, seen[2][2]),
        (1, 0, seen[3][2]),
    ]


def test_keep_best(data):
    X, y = data
    trainer = fastnn.Trainer(network(), nn.CrossEntropyLoss(), optim.SGD(lr=2.0, momentum=0.9))
    history = trainer.fit(X, y, epochs=8, validation_data=(X, y), keep_best=True)
    assert trainer.evaluate(X, y)["accuracy"] == pytest.approx(max(history["val_accuracy"]))


def test_learning_rate_may_change(data):
    X, y = data
    optimizer = optim.SGD(lr=0.1)
    model = network()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optimizer)
    step(X, y)
    before = model.state_dict()["0.weight"]
    optimizer.lr = 0.0
    step(X, y)
    np.testing.assert_array_equal(model.state_dict()["0.weight"], before)
    optimizer.param_groups[0]["lr"] = 0.1
    step(X, y)
    assert (model.state_dict()["0.weight"] != before).any()


def test_frozen_parameters_stay(data):
    X, y = data
    model = network()
    model[0].requires_grad_(False)
    step = fastnn.TrainingStep(
        model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.1)
    )
    before = model.state_dict()
    step(X, y)
    after = model.state_dict()
    np.testing.assert_array_equal(after["0.weight"], before["0.weight"])
    assert (after["3.weight"] != before["3.weight"]).any()


def test_regularization_loss(data):
    model = network()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, weight_decay=0.3))
    step.forward(*data)
    squares = sum(float((p.data.astype(np.float64) ** 2).sum()) for p in model.parameters())
    assert step.regularization_loss == pytest.approx(0.15 * squares, rel=1e-6)
    assert step.loss == pytest.approx(step.data_loss + 0.15 * squares, rel=1e-6)


def test_divergence_tells_where_and_keeps_good_parameters(data):
    X, y = data
    trainer = fastnn.Trainer(
        nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)),
        nn.MSELoss(),
        optim.SGD(lr=1e6, momentum=0.9),
    )
    targets = np.eye(3, dtype=np.float32)[y]
    with pytest.raises(fastnn.TrainingDiverged) as caught:
        trainer.fit(X, targets, epochs=10, batch_size=16)
    error = caught.value
    assert error.epoch == 0 and error.batch >= 1 and error.learning_rate == 1e6
    assert error.layer in ("0", "2", "loss")
    message = str(error)
    assert "epoch 0" in message and f"batch {error.batch}" in message and "1e+06" in message
    assert repr(error.layer) in message
    assert all(np.isfinite(p.data).all() for p in trainer.model.parameters())
    assert np.isfinite(trainer.evaluate(X, targets)["loss"])


def test_nan_in_the_input_is_named(data):
    X, y = data
    X = X.copy()
    X[200, 3] = np.nan
    trainer = fastnn.Trainer(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(fastnn.TrainingDiverged, match="input") as caught:
        trainer.fit(X, y, epochs=1, batch_size=50, shuffle=False)
    assert caught.value.batch == 4
    for _, buffer in trainer.model.named_buffers():
        assert np.isfinite(buffer).all()


@pytest.mark.parametrize("weight", [None, [1.0, 0.0, 1.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_in_which_no_label_counts_is_told(data, weight, smoothing):
    X, y = data
    y = y.copy()
    y[50:100] = -100 if weight is None else 1
    loss = nn.CrossEntropyLoss(weight, label_smoothing=smoothing)
    trainer = fastnn.Trainer(network(), loss, optim.SGD(lr=0.1))
    with pytest.raises(fastnn.TrainingDiverged, match="no label of the batch counts") as caught:
        trainer.fit(X, y, epochs=1, batch_size=50, shuffle=False)
    assert (caught.value.batch, caught.value.layer) == (1, "labels")
    assert "learning rate or max_grad_norm" not in str(caught.value)
    assert all(np.isfinite(buffer).all() for _, buffer in trainer.model.named_buffers())


def test_nan_in_the_target_is_named(data):
    X, y = data
    targets = np.eye(3)[y]
    targets[60, 1] = np.nan
    trainer = fastnn.Trainer(network(), nn.MSELoss(), optim.SGD(lr=0.1))
    with pytest.raises(fastnn.TrainingDiverged, match="'target' holds NaN") as caught:
        trainer.fit(X, targets, epochs=1, batch_size=50, shuffle=False)
    assert (caught.value.batch, caught.value.layer) == (1, "target")


def test_plot_returns_axes(data):
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws the curves")
    matplotlib.use("Agg")
    trainer = fastnn.Trainer(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    axes = trainer.fit(*data, epochs=3, validation_data=data).plot()
    assert [axis.get_ylabel() for axis in axes] == ["loss", "accuracy"]
    assert [len(axis.lines) for axis in axes] == [2, 2]
    matplotlib.pyplot.close("all")


INTERRUPTED = """
import numpy as np, fastnn, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from fastnn import nn, optim
rng = np.random.default_rng(0)
X, y = rng.standard_normal((20000, 100)).astype("f"), rng.integers(0, 3, 20000)
model = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 3))
trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
trainer.fit(X, y, epochs=1)
print("ready", flush=True)
history = trainer.fit(X, y, epochs=100000)
print(history.stopped, np.isfinite(model(X[:5])).all(), flush=True)
"""


def test_interrupt_returns_with_a_usable_model():
    child = subprocess.Popen(
        [*COMMAND, INTERRUPTED],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline().strip() == "ready"
        time.sleep(0.5)  # the epochs are under way, which nothing tells while they run
        child.send_signal(signal.SIGINT)
        started = time.perf_counter()
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert output.strip() == "interrupted True", errors
    assert time.perf_counter() - started < 5


FORKED = """
import os, numpy as np, fastnn
from fastnn import nn
fastnn.set_num_threads(2)
model, x = nn.Linear(500, 500), np.ones((500, 500), "f")
expected = model(x)
child = os.fork()
if child == 0:
    same = (model(x) == expected).all() and fastnn.get_num_threads() == 1
    os._exit(0 if same else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_child_computes_on_one_thread():
    result = run(FORKED)
    assert result.stdout.strip() == "0", result.stderr


def test_two_threads_train_two_models(data):
    expected = train(data, "epoch")
    results = [None, None]

    def run(index):
        with fastnn.num_threads(1):
            X, y = data
            step = steps[index]
            for epoch in range(2):
                order = np.random.default_rng(epoch).permutation(len(X))
                step.epoch(X, y, order, batch_size=64)
            results[index] = step.model.state_dict()

    steps = []
    for _ in range(2):
        fastnn.manual_seed(0)
        steps.append(
            fastnn.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
        )
    workers = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        for key in expected:
            np.testing.assert_array_equal(result[key], expected[key])


def test_a_failed_forward_ends_the_phase(data):
    X, y = data
    step = fastnn.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(RuntimeError, match="no batch"):
        _ = step.data_loss
    step.forward(X, y)
    with pytest.raises(ValueError, match="label 7"):
        step.forward(X, np.full(len(X), 7))
    with pytest.raises(RuntimeError, match="without a forward"):
        step.backward()


@pytest.mark.parametrize(
    "change",
    [
        lambda model, x, y: model.astype(np.float64),
        lambda model, x, y: setattr(model, "1", nn.Linear(4, 2)),
        # Another optimizer lays the parameters out for itself.
        lambda model, x, y: fastnn.TrainingStep(
            model, nn.CrossEntropyLoss(), fastnn.optim.SGD([model[1].bias], lr=0.1)
        )(x, y),
    ],
)
def test_a_model_changed_between_forward_and_update(change):
    """The update went where the parameters were, and was lost."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), fastnn.optim.SGD(lr=0.1))
    x, y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
    step.forward(x, y)
    step.backward()
    change(model, x, y)
    before = model.state_dict()
    with pytest.raises(RuntimeError, match=r"update\(\): the model has changed since forward"):
        step.update()
    step.forward(x, y)
    nn.Linear(2, 2)  # a change elsewhere is none of the model's
    step.backward()
    step.update()
    assert all((before[key] != value).any() for key, value in model.state_dict().items())
