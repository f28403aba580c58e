"""profile: what it measures is the step, and the step alone."""

import json

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.profiling.peak import peak_flops


@pytest.fixture
def model():
    fastnn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )


@pytest.fixture
def batch(rng):
    return rng.standard_normal((6, 3, 8, 8)).astype(np.float32), rng.integers(0, 10, 6)


def test_rows_are_the_steps_of_a_training(model, batch):
    found = fastnn.profile(model, nn.CrossEntropyLoss(), *batch, repetitions=2)
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(momentum=0.9))
    step(*batch)
    assert [row.kernel for row in found.rows] == step.programs.current.lowered.program.kernel_names
    phases = [row.phase for row in found.rows]
    assert list(dict.fromkeys(phases)) == ["forward", "backward", "update"]
    assert phases == sorted(phases, key=["forward", "backward", "update"].index)
    assert all(row.seconds > 0 for row in found.rows)
    assert found.batch_size == 6 and found.threads == fastnn.get_num_threads()


def test_operations(model, batch):
    rows = fastnn.profile(model, nn.CrossEntropyLoss(), *batch, repetitions=1).rows
    flops = {(row.layer, row.operator): row.flops for row in rows}
    product = 6 * 64 * 2 * 9 * 16 * 16
    assert flops["3", "conv2d"] == product + 6 * 64 * 16
    assert flops["3", "conv2d_backward_input"] == product
    assert flops["3", "conv2d_backward_parameters"] == product + 6 * 64 * 16
    assert flops["0", "conv2d"] == 6 * 64 * 2 * 27 * 16
    assert ("0", "conv2d_backward_input") not in flops  # nobody wants the gradient of the images
    assert flops["7", "linear_backward_input"] == 6 * 2 * 256 * 10
    assert flops["7", "linear_backward_parameters"] == 6 * (2 * 256 * 10 + 10)
    parameters = sum(parameter.size for parameter in model.parameters())
    assert sum(row.flops for row in rows if row.operator == "sgd_update") >= 5 * parameters


@pytest.mark.parametrize("trained", [False, True])
def test_nothing_is_changed(model, batch, trained):
    loss, optimizer = nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9)
    step = fastnn.TrainingStep(model, loss, optimizer)
    if trained:
        step(*batch)
    model[1].eval()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    addresses = [parameter.data.ctypes.data for parameter in model.parameters()]
    state = {name: value.copy() for name, value in optimizer.state.items()}
    taken, buffer, groups = optimizer.steps_taken.copy(), optimizer.buffer, optimizer.param_groups
    options = [dict(group) for group in groups]
    fastnn.manual_seed(3)
    fastnn.profile(model, loss, *batch, optimizer=optimizer, repetitions=2)
    drawn = fastnn.random.generator().integers(1000, size=5)
    assert (drawn == np.random.default_rng(3).integers(1000, size=5)).all()
    assert model.training and not model[1].training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert addresses == [parameter.data.ctypes.data for parameter in model.parameters()]
    assert optimizer.buffer is buffer and optimizer.param_groups is groups
    assert [dict(group) for group in groups] == options
    assert optimizer.steps_taken == taken and optimizer.state.keys() == state.keys()
    for name, value in optimizer.state.items():
        np.testing.assert_array_equal(value, state[name])


def test_groups_of_an_optimizer_are_kept(model, batch):
    first, *others = model.parameters()
    groups = [{"params": [first], "momentum": 0.5}, {"params": others, "weight_decay": 0.1}]
    found = fastnn.profile(
        model, nn.CrossEntropyLoss(), *batch, optimizer=optim.SGD(groups), repetitions=1
    )
    assert sum(row.operator == "sgd_update" for row in found.rows) == 2


def test_table_and_dict(model, batch):
    found = fastnn.profile(model, nn.CrossEntropyLoss(), *batch, repetitions=1)
    text = str(found)
    for word in ("conv2d_winograd_forward", "GFLOP/s", "of peak", "step", "batch of 6"):
        assert word in text
    told = json.loads(json.dumps(found.to_dict()))
    assert len(told["rows"]) == len(found.rows)
    assert told["totals"]["step"]["seconds"] == pytest.approx(found.seconds)
    parts = [found.totals[phase].flops for phase in ("forward", "backward", "update")]
    assert sum(parts) == found.totals["step"].flops


def test_plot_returns_axes(model, batch):
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws the bars")
    matplotlib.use("Agg")
    found = fastnn.profile(model, nn.CrossEntropyLoss(), *batch, repetitions=1)
    ax = found.plot()
    assert len(ax.patches) == len(found.rows) and ax.get_xlabel() == "milliseconds"
    assert found.plot(ax) is ax
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_peak_is_measured_once(dtype):
    peak = peak_flops(dtype, 1)
    assert peak > 1e9
    assert peak_flops(dtype, 1) == peak


def test_errors(model, batch):
    with pytest.raises(TypeError, match="model: got int"):
        fastnn.profile(3, nn.CrossEntropyLoss(), *batch)
    with pytest.raises(ValueError, match="repetitions=0"):
        fastnn.profile(model, nn.CrossEntropyLoss(), *batch, repetitions=0)
    with pytest.raises(ValueError, match="expected"):
        fastnn.profile(model, nn.CrossEntropyLoss(), batch[0][:, :2], batch[1])
