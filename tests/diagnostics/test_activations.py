"""Statistics of layers against float64; the initialization study against the course."""

import numpy as np
import pytest
from data import digits
from setups import HEALTHY, batchnorm_network, convolutional_network, relu_network, seeded, sgd

import fastnn
from fastnn import diagnostics, nn

LOSS = nn.CrossEntropyLoss()


def test_a_relu_network_against_numpy():
    X, _, y, _ = digits()
    X, y = X[:200], y[:200]
    model = seeded(relu_network)
    check = diagnostics.activation_statistics(model, LOSS, X, y)
    weights = [model[i].weight.data.astype(np.float64) for i in (0, 2, 4)]
    biases = [model[i].bias.data.astype(np.float64) for i in (0, 2, 4)]
    outputs = [X.astype(np.float64)]
    for i in range(3):
        z = outputs[-1] @ weights[i].T + biases[i]
        outputs.append(z if i == 2 else np.maximum(z, 0))
    p = np.exp(outputs[3] - outputs[3].max(axis=1, keepdims=True))
    delta = p / p.sum(axis=1, keepdims=True) - np.eye(10)[y]  # times the batch
    gradients = [delta]
    for i in (2, 1):
        gradients.insert(0, gradients[0] @ weights[i] * (outputs[i] > 0))
    assert [row["name"] for row in check.data["layers"]] == ["0", "2", "4"]
    for row, output, gradient in zip(check.data["layers"], outputs[1:], gradients, strict=True):
        assert row["mean"] == pytest.approx(output.mean(), rel=1e-4, abs=1e-6)
        assert row["std"] == pytest.approx(output.std(), rel=1e-5)
        assert row["gradient_std"] == pytest.approx(gradient.std(), rel=1e-4)
        assert row["histogram"][0].sum() == output.size
    for row, output in zip(check.data["layers"][:2], outputs[1:], strict=False):
        assert row["dead"] == (~output.any(axis=0)).mean()


def test_activations_with_parameters_are_layers():
    X, _, y, _ = digits()
    model = nn.Sequential(nn.Linear(64, 16), nn.PReLU(), nn.Linear(16, 10), nn.ELU(learnable=True))
    check = diagnostics.activation_statistics(model, LOSS, X[:100], y[:100])
    assert [row["kind"] for row in check.data["layers"]] == ["Linear", "PReLU", "Linear", "ELU"]


def test_the_first_update_over_the_weights():
    X, _, y, _ = digits()
    model = seeded(relu_network)
    check = diagnostics.activation_statistics(model, LOSS, X, y, sgd(0.05), examples=len(X))
    before = {name: np.array(p.data, np.float64) for name, p in model.named_parameters()}
    fastnn.TrainingStep(model, LOSS, sgd(0.05))(X, y)
    for row in check.data["layers"]:
        name = f"{row['name']}.weight"
        after = np.array(dict(model.named_parameters())[name].data, np.float64)
        ratio = np.linalg.norm(after - before[name]) / np.linalg.norm(before[name])
        assert row["update"] == pytest.approx(ratio, rel=1e-4)


def test_images_have_channels_as_units():
    X, _, y, _ = digits()
    X, y = X.reshape(-1, 1, 8, 8)[:100], y[:100]
    model = seeded(convolutional_network)
    nn.init.constant_(model[4].bias, -10.0)  # the second convolution
    model[4].bias.data[:4] = 0.1
    check = diagnostics.activation_statistics(model, LOSS, X, y)
    rows = {row["name"]: row for row in check.data["layers"]}
    assert rows["4"]["dead"] == 12 / 16 and rows["4"]["verdict"] == "dead"
    inside = np.asarray(nn.Sequential(*[model[i] for i in range(6)])(X))
    assert rows["4"]["std"] == pytest.approx(inside.std(dtype=np.float64), rel=1e-3)
    assert check.data["first"] == "4" and "layer '4' (Conv2d + ReLU)" in check.advice


def test_saturation_is_counted_as_defined():
    X, _, y, _ = digits()
    model = seeded(HEALTHY["tanh"])
    model[0].weight.data[...] *= 10
    check = diagnostics.activation_statistics(model, LOSS, X, y, examples=300)
    rows = np.sort(np.random.default_rng(0).choice(len(X), 300, replace=False))
    h = np.tanh(X[rows].astype(np.float64) @ model[0].weight.data.T + model[0].bias.data)
    assert check.data["layers"][0]["saturated"] == pytest.approx((1 - h**2 < 0.05).mean(), abs=1e-3)
    assert check.data["layers"][0]["verdict"] == "saturated"
    assert check.data["layers"][1]["verdict"] == "healthy"


@pytest.mark.parametrize("scale, verdict", [(0.01, "vanishing"), (30.0, "exploding")])
def test_deep_networks_vanish_and_explode(rng, scale, verdict):
    layers = [part for _ in range(8) for part in (nn.Linear(50, 50), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(50, 10))
    for i in range(0, 16, 2):
        model[i].weight.data[...] *= scale
        nn.init.zeros_(model[i].bias)
    X = rng.normal(size=(200, 50))
    check = diagnostics.activation_statistics(model, LOSS, X, np.arange(200) % 10)
    assert not check and verdict in check.advice


def test_the_picture_is_a_row_of_histograms():
    X, _, y, _ = digits()
    check = diagnostics.activation_statistics(seeded(batchnorm_network), LOSS, X, y)
    ax = check.plot()
    assert len(ax.child_axes) == 5
    assert "std 0." in ax.child_axes[0].get_title()


def study(activation, *schemes, seed=0):
    return diagnostics.initialization_study(10, 500, activation, schemes, seed=seed).data


def test_tanh_as_in_the_course():
    data = study("tanh", "0.01 normal", "1.0 normal", "Xavier")
    small = data["0.01 normal"]["std"]
    assert small[0] == pytest.approx(0.213, abs=0.002)
    ratios = np.array(small[1:]) / small[:-1]
    assert ratios == pytest.approx(np.full(9, 0.22), abs=0.01)
    assert round(small[9], 6) == 0
    assert data["1.0 normal"]["std"] == pytest.approx([0.98] * 10, abs=0.005)
    assert data["Xavier"]["std"][0] == pytest.approx(0.628, abs=0.003)
    assert data["Xavier"]["std"][9] == pytest.approx(0.228, abs=0.01)


def test_relu_as_in_the_course():
    halving, first = [], []
    for seed in range(3):
        data = study("relu", "Xavier", "He", seed=seed)
        halving.append(np.array(data["Xavier"]["std"][1:]) / data["Xavier"]["std"][:-1])
        first.append(data["He"]["std"][0])
        assert 0.4 < data["He"]["std"][9] < 1.6
    assert np.mean(halving) ** 2 == pytest.approx(0.5, abs=0.03)
    assert np.mean(first) == pytest.approx(0.825, abs=0.005)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_study_agrees_with_theory(activation):
    for seed in range(3):
        check = diagnostics.initialization_study(10, 500, activation, seed=seed)
        assert check.passed, check.advice
        assert check.data["zeros"]["alike"] == 0 and check.data["He"]["alike"] > 0.1
        assert "zeros: in hidden layers all units get equal gradients" in check.advice


def test_the_study_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="got activation 'elu'"):
        diagnostics.initialization_study(activation="elu")
    with pytest.raises(ValueError, match="got scheme 'big'"):
        diagnostics.initialization_study(schemes=["big"])
