"""babysit: names each planted fault and its layer, is quiet on healthy set-ups, and reports."""

import re
import time

import numpy as np
import pytest
from data import digits, folder
from setups import HEALTHY, batchnorm_network, relu_network, seeded, sgd, sigmoid_network

import fastnn
from fastnn import diagnostics, nn, optim, preprocessing

LOSS = nn.CrossEntropyLoss()


def babysit(model, X=None, y=None, optimizer=None, **options):
    data, _, labels, _ = digits()
    X, y = data if X is None else X, labels if y is None else y
    return diagnostics.babysit(model, LOSS, X, y, optimizer or sgd(), **options)


def first_fault(report, pattern):
    """Asserts that the fault named first is the planted one."""
    assert not report
    assert re.search(pattern, report.faults[0]), report.faults


@pytest.mark.parametrize("name", HEALTHY)
def test_no_alarm_on_a_healthy_set_up(name):
    X, X_test, y, y_test = digits()
    if name == "convolutional":
        X, X_test = X.reshape(-1, 1, 8, 8), X_test.reshape(-1, 1, 8, 8)
    lr = 0.2 if name == "sigmoid" else 0.05
    for seed in range(10):
        model = seeded(HEALTHY[name], seed)
        report = babysit(model, X, y, sgd(lr), validation_data=(X_test, y_test))
        assert report.passed, (seed, report.faults)
        assert not report.stopped and all(step.checks for step in report.steps)


@pytest.mark.parametrize("seed", range(3))
def test_labels_shuffled_against_inputs(seed):
    _, _, y, _ = digits()
    shuffled = np.random.default_rng(seed).permutation(y)
    report = babysit(seeded(batchnorm_network, seed), y=shuffled)
    first_fault(report, "short training: .* labels look shuffled against their inputs")


def test_biases_at_minus_ten():
    model = seeded(relu_network)
    for i in (0, 2):
        nn.init.constant_(model[i].bias, -10.0)
    report = babysit(model)
    first_fault(report, r"layer '0' \(Linear \+ ReLU\): 100 % of units dead")
    assert "layer '0' can't learn" in report.stopped
    model = seeded(relu_network)
    nn.init.constant_(model[2].bias, -10.0)
    report = babysit(model)
    first_fault(report, r"layer '2' \(Linear \+ ReLU\): 100 % of units dead")
    assert len(report.faults) == 1


def test_sigmoid_weights_times_thirty():
    model = seeded(sigmoid_network)
    for i in (0, 2, 4):
        model[i].weight.data[...] *= 30
    first_fault(babysit(model), r"layer '0' \(Linear \+ Sigmoid\): .. % saturated")


@pytest.mark.parametrize("name", ["relu", "batchnorm", "tanh"])
def test_learning_rate_times_ten_thousand(name):
    report = babysit(seeded(HEALTHY[name]), optimizer=sgd(500.0))
    assert not report
    named = [fault for fault in report.faults if "learning rate 500 is too high" in fault]
    assert named and all("learning rate" in fault for fault in report.faults)


def test_input_left_in_0_to_255():
    X, y = fastnn.datasets.digits()
    report = babysit(seeded(batchnorm_network), (X * (255 / 16)).round(), y)
    first_fault(report, "preprocessing: image data still in 0..255")


class Cut(nn.Module):
    """Lets nothing through."""

    def forward(self, x):
        return x * 0.0


class CutBranch(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(64, 32), nn.Linear(64, 32)
        self.last, self.cut = nn.Linear(32, 10), Cut()

    def forward(self, x):
        return self.last(nn.functional.relu(self.one(x)) + self.cut(self.other(x)))


def test_a_layer_whose_gradient_is_cut():
    report = babysit(seeded(CutBranch))
    first_fault(report, r"layer 'other' \(Linear\): no gradient")
    model = seeded(batchnorm_network)
    model[4].requires_grad_(False)
    first_fault(babysit(model), r"layer '4' \(Linear\): frozen: its parameters have requires_grad")


def test_softmax_applied_twice():
    report = babysit(seeded(lambda: nn.Sequential(*batchnorm_network(), nn.Softmax())))
    first_fault(report, "first loss: softmax is applied twice: layer '8' is one")


def test_test_data_leaking_into_the_mean():
    X, y = fastnn.datasets.digits()
    X, X_test, y, y_test = fastnn.datasets.train_test_split(X, y, test_size=0.2, seed=0)
    leaked = preprocessing.Standardize().fit(np.concatenate([X, X_test]))
    data = leaked.transform(X_test), y_test
    report = babysit(seeded(batchnorm_network), leaked.transform(X), y, validation_data=data)
    first_fault(report, "preprocessing: test data leaked into the mean")
    assert len(report.faults) == 1


def test_batchnorm_in_eval_mode_during_training():
    model = seeded(batchnorm_network)
    model[5].eval()
    report = babysit(model)
    first_fault(report, "batch normalization: layer '5' is in eval mode")
    assert len(report.faults) == 1


@pytest.mark.parametrize("name", ["relu", "tanh", "batchnorm", "sigmoid"])
def test_zero_initialization(name):
    model = seeded(HEALTHY[name])
    for parameter in model.parameters():
        if len(parameter.shape) > 1:
            nn.init.zeros_(parameter)
    report = babysit(model)
    first_fault(report, r"layer '0' .*: all units have the same weights \(zero or constant")
    assert "layer '0'" in report.stopped


def test_inputs_that_are_not_finite_stop_it():
    X, _, y, _ = digits()
    X = X.copy()
    X[5, 7] = np.nan
    report = babysit(seeded(relu_network), X, y)
    first_fault(report, "1 values are NaN or infinite, the first in feature 7")
    assert [bool(step.checks) for step in report.steps] == [True] + [False] * 6


def test_without_an_optimizer_and_a_regression(rng):
    X = rng.normal(size=(500, 6))
    y = np.sin(X[:, :1]) + X[:, 1:2] ** 2
    model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 1))
    report = diagnostics.babysit(model, nn.MSELoss(), X, y)
    assert report.passed, report.faults
    report = diagnostics.babysit(model, nn.MSELoss(), X, rng.permutation(y))
    assert any("nothing carries over" in fault for fault in report.faults)


def test_the_report(tmp_path):
    report = babysit(seeded(relu_network))
    text = str(report)
    assert text.startswith("babysit: no faults in 7 of 7 steps")
    assert [f"{i}. " in text for i in range(1, 8)] == [True] * 7
    report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 8
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<h2>7. Watch a short training</h2>" in page
    assert report._repr_html_().startswith("<style>")


def test_mnist_takes_seconds(tmp_path):
    (X, y), (X_test, y_test) = fastnn.datasets.mnist(folder("mnist"), flatten=True)
    standardize = preprocessing.Standardize().fit(X / 255)
    X, X_test = (standardize.transform(data / 255).astype(np.float32) for data in (X, X_test))
    fastnn.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(784, 256), nn.BatchNorm1d(256), nn.ReLU()),
        *(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)),
    )
    started = time.process_time()
    report = diagnostics.babysit(
        *(model, LOSS, X, y, optim.SGD(lr=0.05, momentum=0.9, weight_decay=1e-4)),
        validation_data=(X_test, y_test),
    )
    report.save(tmp_path / "report.html")
    assert report.passed, report.faults
    # Of one core's time: whatever else runs on the machine does not count.
    assert time.process_time() - started < 20
