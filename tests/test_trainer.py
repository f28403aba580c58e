"""Trainer: several inputs and outputs, predictions by loss, copies, errors of callbacks."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F


@pytest.fixture
def X(rng):
    return rng.standard_normal((150, 6)).astype(np.float32)


@pytest.fixture
def y(X):
    return (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def trainer_of(model, loss=None, **options):
    return fastnn.Trainer(model, loss or nn.CrossEntropyLoss(), optim.SGD(lr=0.1, **options))


def network():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(2, 3)

    def forward(self, inputs):
        x, extra = inputs
        return self.first(x) + self.second(extra)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes, self.amount = nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, x):
        return {"classes": self.classes(x), "amount": self.amount(x)}


class BothLosses(nn.Module):
    def forward(self, output, target):
        labels, amounts = target
        return F.cross_entropy(output["classes"], labels) + F.mse_loss(output["amount"], amounts)


def test_two_inputs(X, y):
    trainer = trainer_of(TwoInputs())
    inputs = (X, X[:, :2])
    history = trainer.fit(inputs, y, epochs=15, batch_size=32, validation_data=(inputs, y))
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert trainer.predict(inputs, batch_size=40).shape == (150,)
    with pytest.raises(ValueError, match="target: got 149 examples, expected 150"):
        trainer.fit(inputs, y[:149])
    with pytest.raises(ValueError, match="input 1: got 149 examples, expected 150"):
        trainer.fit((X, X[:149, :2]), y)


def test_two_heads(X, y):
    trainer = trainer_of(TwoHeads(), BothLosses())
    targets = (y, X[:, 2:3] * 2)
    history = trainer.fit(X, targets, epochs=15, batch_size=32)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    output = trainer.predict(X, batch_size=40)
    assert output["classes"].shape == (150, 3) and output["amount"].shape == (150, 1)
    np.testing.assert_allclose(output["amount"], trainer.model(X)["amount"], rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="several outputs"):
        trainer.predict_proba(X)


def test_two_sides(X):
    sides = X[:, :2] > 0
    trainer = trainer_of(nn.Linear(6, 2), nn.BCEWithLogitsLoss(), momentum=0.9)
    trainer.fit(X, sides, epochs=40)
    probabilities = trainer.predict_proba(X)
    scores = trainer.predict_scores(X).astype(np.float64)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-scores)), rtol=1e-5)
    assert (trainer.predict(X) == (probabilities > 0.5)).all()
    assert (trainer.predict(X) == sides).mean() > 0.95


def test_regression(X):
    target = X @ np.linspace(-1, 1, 12).reshape(6, 2)
    trainer = trainer_of(nn.Linear(6, 2), nn.MSELoss())
    history = trainer.fit(X, target, epochs=30, validation_split=0.2)
    assert history["val_loss"][-1] < 1e-3 and "accuracy" not in history
    np.testing.assert_allclose(trainer.predict(X), target, atol=0.1)
    with pytest.raises(TypeError, match="MSELoss has no probabilities"):
        trainer.predict_proba(X)
    with pytest.raises(ValueError, match=r"got a target of shape \(batch,\)"):
        trainer.fit(X, target[:, 0])


def test_predict_goes_by_batches(X, y):
    trainer = trainer_of(network())
    trainer.fit(X, y, epochs=1)
    many = np.broadcast_to(X[:1], (100_000, 6))  # one row of memory
    assert (trainer.predict(many) == trainer.predict(X[:1])[0]).all()
    with pytest.raises(ValueError, match="empty batch"):
        trainer.predict(X[:0])
    with pytest.raises(ValueError, match="batch_size=0"):
        trainer.predict(X, batch_size=0)


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_copy_goes_on_like_the_original(twin, X, y):
    original = trainer_of(network(), momentum=0.9, weight_decay=1e-3)
    original.fit(X, y, epochs=2, seed=0)
    duplicate = twin(original)
    assert duplicate.history["loss"] == original.history["loss"]
    got = duplicate.fit(X, y, epochs=2, seed=1)["loss"]
    assert got == original.fit(X, y, epochs=2, seed=1)["loss"]
    other = twin(original.step)
    assert other(X, y) == original.step(X, y)


def test_seeds_of_shuffling(X, y):
    def losses(**options):
        fastnn.manual_seed(0)
        trainer = trainer_of(network())
        return trainer.fit(X, y, epochs=3, batch_size=16, validation_split=0.2, **options)["loss"]

    assert losses(seed=1) == losses(seed=1)
    assert losses(seed=1) != losses(seed=2)
    assert losses() == losses()  # what manual_seed began


def test_an_error_in_a_callback_leaves_everything_usable(X, y):
    ended = []

    class Fails(fastnn.Callback):
        def on_epoch_end(self, trainer, epoch, row):
            raise LookupError("mine")

        def on_fit_end(self, trainer):
            ended.append(True)

    trainer = trainer_of(network())
    with pytest.raises(LookupError, match="mine"):
        trainer.fit(X, y, epochs=3, callbacks=[Fails()], keep_best=True)
    assert ended == [True] and len(trainer.history["loss"]) == 1
    assert len(trainer.fit(X, y, epochs=2)["loss"]) == 2

    class FailsWithin(fastnn.Callback):
        every_step = True

        def on_step_end(self, trainer, epoch, batch, loss):
            raise LookupError("mine")

    with pytest.raises(LookupError):
        trainer.fit(X, y, callbacks=[FailsWithin()])
    assert np.isfinite(trainer.evaluate(X, y)["loss"])


def test_callbacks_may_evaluate_and_change_the_optimizer(X, y):
    class Decays(fastnn.Callback):
        every_step = True

        def on_step_end(self, trainer, epoch, batch, loss):
            trainer.optimizer.lr *= 0.9
            assert np.isfinite(trainer.evaluate(X[:10], y[:10])["loss"])
            assert trainer.model.training

    trainer = trainer_of(network())
    history = trainer.fit(X, y, epochs=2, batch_size=50, callbacks=[Decays()])
    assert history["lr"][-1] == pytest.approx(0.1 * 0.9**6)


def test_best_of_undefined_scores(X, y):
    bad = X.copy()
    bad[0] = np.nan  # the validation loss is NaN in every epoch
    trainer = trainer_of(nn.Linear(6, 1), nn.MSELoss())
    history = trainer.fit(
        X, y[:, None], epochs=3, validation_data=(bad, y[:, None]), keep_best=True
    )
    assert np.isnan(history["val_loss"]).all()
    assert np.isfinite(trainer.model.weight.data).all()


def test_arguments_of_fit(X, y):
    trainer = trainer_of(network())
    for options, message in [
        ({"epochs": -1}, "epochs=-1"),
        ({"epochs": None}, "epochs=None"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": "64"}, "batch_size='64'"),
        ({"batch_size": float("nan")}, "batch_size=nan"),
        ({"validation_split": 1.5}, "validation_split=1.5"),
        ({"validation_split": 0.1, "validation_data": (X, y)}, "expected one of them"),
        ({"validation_data": (X[:, :2], y)}, "got 2 input features"),
    ]:
        with pytest.raises(ValueError, match=message):
            trainer.fit(X, y, **{"epochs": 1, **options})
    with pytest.raises(TypeError, match=r"expected a pair \(X, y\)"):
        trainer.fit(X, y, validation_data=X)
    with pytest.raises(ValueError, match="empty data set"):
        trainer.fit(X[:0], y[:0])
    assert len(trainer.fit(X, y, epochs=0)) == 0


def test_a_finished_line_of_progress_fits_on_80_columns(X, y, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    trainer = trainer_of(network())
    trainer.fit(X, y, epochs=10, validation_data=(X, y), progress=True)
    written = capsys.readouterr().err
    finished = [line.rpartition("\r")[2] for line in written.split("\n")[:-1]]
    assert len(finished) == 10
    for line, loss, held in zip(
        finished, trainer.history["loss"], trainer.history["val_accuracy"], strict=True
    ):
        assert len(line.rstrip()) <= 80
        assert f"loss {loss:.4f}, " in line and f", {held:.4f}), " in line


def test_several_inputs_where_a_layer_takes_one(rng):
    x, y = rng.standard_normal((5, 4)), np.array([0, 1, 1, 0, 1])
    trainer = fastnn.Trainer(nn.Linear(4, 2), nn.CrossEntropyLoss(), fastnn.optim.SGD(lr=0.1))
    message = r"linear: got a list of 5 traced values as input, expected one: .* \(np.stack makes"
    with pytest.raises(TypeError, match=message):
        trainer.fit(list(x), y)
    with pytest.raises(TypeError, match=message):
        trainer.predict(list(x))
    with pytest.raises(TypeError, match="linear: got a dict of 2 traced values"):
        trainer.fit({"left": x, "right": x}, y)


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (fastnn.EarlyStopping(), "got one EarlyStopping, expected a list"),
        ([fastnn.EarlyStopping], "got EarlyStopping, expected objects of"),
        ([print], "got print, expected objects of"),
    ],
)
def test_what_is_no_list_of_callbacks(callbacks, message):
    trainer = fastnn.Trainer(nn.Linear(4, 2), nn.CrossEntropyLoss(), fastnn.optim.SGD(lr=0.1))
    with pytest.raises(TypeError, match=message):
        trainer.fit(np.ones((5, 4)), np.zeros(5, int), callbacks=callbacks)


@pytest.mark.parametrize("batch_size", [7, 100])
def test_an_evaluation_counts_all_rows_whatever_the_loss(batch_size, rng):
    x, y = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
    x[20, 1] = np.nan
    trainer = fastnn.Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), fastnn.optim.SGD(lr=0.1))
    measured = trainer.evaluate(x, y, batch_size=batch_size)
    assert np.isnan(measured["loss"])
    correct = trainer.predict(x) == y
    correct[20] = False  # of a row without numbers no class is the largest
    assert measured["accuracy"] == np.mean(correct)
    with pytest.raises(fastnn.TrainingDiverged):
        trainer.fit(x, y, epochs=1, validation_data=(x, y))


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (lambda X, y: (X[:, :3], y), "validation_data: layer '0' .*got 3 input features"),
        (lambda X, y: (X, y + 3), "validation_data: target: label . at index . is out of range"),
        (lambda X, y: (X, y[:-1]), "validation_data: target: got 149 examples, expected 150"),
        (lambda X, y: (X[:0], y[:0]), "validation_data: .*empty data set"),
        (lambda X, y: (X, y[:, None]), "validation_data: layer 'loss' .*got a target"),
    ],
)
def test_validation_data_are_checked_before_the_first_epoch(held, message, X, y):
    model = network()
    before = model.state_dict()
    with pytest.raises(ValueError, match=message):
        trainer_of(model).fit(X, y, epochs=1, validation_data=held(X, y))
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert all(module.training for module in model.modules())


def test_what_is_wrong_with_the_data_comes_before_the_validation_data(X, y):
    with pytest.raises(ValueError, match="^layer '0' .*got 3 input features"):
        trainer_of(network()).fit(X[:, :3], y, epochs=1, validation_data=(X[:, :3], y))


def test_none_stands_for_no_callbacks(X, y):
    assert len(trainer_of(network()).fit(X, y, epochs=1, callbacks=None)["loss"]) == 1


def test_a_function_is_no_list_of_callbacks(X, y):
    with pytest.raises(TypeError, match="callbacks: got one builtin_function_or_method"):
        trainer_of(network()).fit(X, y, epochs=1, callbacks=print)
