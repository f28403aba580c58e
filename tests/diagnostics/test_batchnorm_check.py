"""What a look at batch normalization finds."""

import numpy as np
import pytest
from data import digits
from setups import batchnorm_network, convolutional_network, relu_network, seeded, sgd

import fastnn
from fastnn import diagnostics, models, nn

LOSS = nn.CrossEntropyLoss()


def trained(build, X, y, epochs=3):
    model = seeded(build)
    fastnn.Trainer(model, LOSS, sgd()).fit(X, y, epochs, progress=False, seed=0)
    return model


def test_a_network_without_batchnorm_passes():
    X, _, y, _ = digits()
    assert diagnostics.batchnorm_check(seeded(relu_network), LOSS, X, y).passed


def test_a_trained_network_passes():
    X, _, y, _ = digits()
    check = diagnostics.batchnorm_check(trained(batchnorm_network, X, y), LOSS, X, y)
    assert check.passed
    assert [row["name"] for row in check.data["layers"]] == ["1", "5"]
    assert all(row["shift"] < 0.5 and row["ratio"] < 1.5 for row in check.data["layers"])
    assert check.plot().get_ylabel() == "of the running averages"


def test_a_table_has_room_on_its_picture():
    """Of a network that has not been trained there is nothing to draw but the table."""
    X, _, y, _ = digits()
    images = X.reshape(-1, 1, 8, 8)
    check = diagnostics.batchnorm_check(models.resnet(20, channels=1), LOSS, images[:64], y[:64])
    ax = check.plot()
    ax.figure.canvas.draw()
    inside, text = ax.figure.bbox, ax.texts[0].get_window_extent()
    assert text.y0 >= inside.y0 and text.x1 <= inside.x1


def test_statistics_against_numpy():
    X, _, y, _ = digits()
    images = X.reshape(-1, 1, 8, 8)
    model = trained(convolutional_network, images, y, 1)
    check = diagnostics.batchnorm_check(model, LOSS, images[:200], y[:200])
    before = np.asarray(model[0](images[:200]), np.float64)
    mean, std = before.mean(axis=(0, 2, 3)), np.sqrt(before.var(axis=(0, 2, 3)) + 1e-5)
    (row,) = check.data["layers"]
    np.testing.assert_allclose(row["mean"], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(row["std"], std, rtol=1e-4)
    shift = np.median(np.abs(np.asarray(model[1].running_mean) - mean) / std)
    assert row["shift"] == pytest.approx(shift, rel=1e-3)


def test_eval_mode_and_a_layer_that_ignores_its_mode():
    class Fixed(nn.BatchNorm1d):
        def forward(self, x):
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False
            )

    X, _, y, _ = digits()
    model = seeded(batchnorm_network)
    model[5].eval()
    check = diagnostics.batchnorm_check(model, LOSS, X, y)
    assert not check and "layer '5' is in eval mode" in check.advice
    assert "layer '1' is in eval mode" not in check.advice
    check = diagnostics.batchnorm_check(seeded(lambda: batchnorm_network(Fixed)), LOSS, X, y)
    assert not check and "layer '1' is in eval mode" in check.advice


def test_small_batches_and_idle_biases():
    X, _, y, _ = digits()
    model = seeded(batchnorm_network)
    check = diagnostics.batchnorm_check(model, LOSS, X, y, batch_size=4)
    assert "layer '1': a batch has 4 values of a channel" in check.advice
    assert "uncertain by 82 %" in check.advice
    check = diagnostics.batchnorm_check(model, LOSS, X, y)
    assert check.passed and check.advice.count("does nothing: bias=False saves it") == 2
    images = X.reshape(-1, 1, 8, 8)
    assert diagnostics.batchnorm_check(seeded(convolutional_network), LOSS, images, y, 4).passed


def test_running_averages_of_other_data():
    X, _, y, _ = digits()
    model = trained(batchnorm_network, X, y)
    model[1].running_mean[...] += 5
    check = diagnostics.batchnorm_check(model, LOSS, X, y)
    assert not check
    assert "layer '1': running averages are far from the batch's" in check.advice
    assert "in eval mode" in check.advice and check.data["losses"]["eval"] > 1
