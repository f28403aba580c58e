"""Optimizers: options that change on the way, parameters that are left out, beside PyTorch."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F


@pytest.fixture
def data(rng):
    return rng.standard_normal((32, 4)), rng.integers(0, 3, 32)


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).astype(np.float64)


def by_hand(step, velocity, weight, data, lr, momentum=0.0, nesterov=False):
    """A step of SGD written down with the gradient that fastnn computed."""
    step.forward(*data)
    step.backward()
    gradient = step.model[0].weight.grad.copy()
    expected_velocity = momentum * velocity + gradient
    direction = gradient + momentum * expected_velocity if nesterov else expected_velocity
    return weight - lr * direction, expected_velocity


def test_options_hold_from_the_next_step_on(data):
    optimizer = optim.SGD(lr=0.1, momentum=0.9)
    step = fastnn.TrainingStep(network(), nn.CrossEntropyLoss(), optimizer)
    velocity = np.zeros((8, 4))
    for changes in (
        {},
        {"momentum": 0.5},
        {"nesterov": True},
        {"lr": 0.01},
        {"nesterov": False},
    ):
        optimizer.param_groups[0].update(changes)
        options = {k: optimizer.param_groups[0][k] for k in ("lr", "momentum", "nesterov")}
        weight = step.model[0].weight.data.copy()
        expected, velocity = by_hand(step, velocity, weight, data, **options)
        step.update()
        np.testing.assert_allclose(step.model[0].weight.data, expected, rtol=1e-12, atol=1e-15)


def test_momentum_turned_on_later(data):
    optimizer = optim.SGD(lr=0.1)
    step = fastnn.TrainingStep(network(), nn.CrossEntropyLoss(), optimizer)
    step(*data)
    optimizer.param_groups[0]["momentum"] = 0.9
    velocity, weight = np.zeros((8, 4)), step.model[0].weight.data.copy()
    for _ in range(2):
        weight, velocity = by_hand(step, velocity, weight, data, 0.1, 0.9)
        step.update()
        np.testing.assert_allclose(step.model[0].weight.data, weight, rtol=1e-12, atol=1e-15)


def test_freezing_a_parameter_is_seen(data):
    model = network()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
    step(*data)
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    frozen, other = model[0].weight.data.copy(), model[2].weight.data.copy()
    step(*data)
    np.testing.assert_array_equal(model[0].weight.data, frozen)
    assert (model[2].weight.data != other).any()
    model[0].weight.requires_grad = True
    step(*data)
    assert (model[0].weight.data != frozen).any()


def test_a_frozen_parameter_does_not_count_in_the_norm(data):
    model = network()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1), max_grad_norm=1e-3)
    step(*data)
    model[0].requires_grad_(False)
    step(*data)
    squares = sum(float((p.grad**2).sum()) for p in model[2].parameters())
    # Clipping scales in the update, not in `grad`.
    assert step.grad_norm == pytest.approx(squares**0.5, rel=1e-12)


class Switched(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)
        self.use_both = True

    def forward(self, x):
        return self.first(x) + self.second(x) if self.use_both else self.first(x)


def test_an_unused_parameter_stays(data):
    model = Switched()
    optimizer = optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.1)
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optimizer)
    step(*data)
    model.use_both = False
    before = model.second.weight.data.copy()
    step(*data)
    np.testing.assert_array_equal(model.second.weight.data, before)
    model.use_both = True
    step(*data)
    assert (model.second.weight.data != before).any()


def test_a_group_added_later_is_trained(data):
    model = network()
    optimizer = optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optimizer)
    before = model[2].weight.data.copy()
    step(*data)
    np.testing.assert_array_equal(model[2].weight.data, before)
    optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.0})
    step(*data)
    np.testing.assert_array_equal(model[2].weight.data, before)
    optimizer.param_groups[1]["lr"] = 0.1
    step(*data)
    assert (model[2].weight.data != before).any()


@pytest.mark.parametrize("max_norm", [None, 0.05])
def test_groups_as_in_pytorch(data, max_norm):
    torch = pytest.importorskip("torch", reason="the reference is PyTorch")
    X, y = data
    ours = network()
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).double()
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})

    def groups(model):
        return [
            {"params": model[0].parameters(), "lr": 0.2, "momentum": 0.0},
            {"params": [model[2].weight], "weight_decay": 0.1, "dampening": 0.3},
            {"params": [model[2].bias], "nesterov": True},
        ]

    optimizer = torch.optim.SGD(groups(theirs), lr=0.05, momentum=0.9)
    step = fastnn.TrainingStep(
        ours, nn.CrossEntropyLoss(), optim.SGD(groups(ours), lr=0.05, momentum=0.9), max_norm
    )
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(X)), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        if max_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
        optimizer.step()
        assert step(X, y) == pytest.approx(loss.item(), rel=1e-10)
        if max_norm is not None:
            assert step.grad_norm == pytest.approx(norm.item(), rel=1e-10)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key], value.numpy(), rtol=1e-9, atol=1e-12)


def test_clipping_by_hand(data):
    model = network()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    step.forward(*data)
    step.backward()
    norm = optim.clip_grad_norm_(model.parameters(), 0.01)
    after = sum(float((p.grad**2).sum()) for p in model.parameters()) ** 0.5
    assert norm > 0.01 and after == pytest.approx(0.01, rel=1e-3)


def test_options_that_are_no_numbers():
    for lr in (None, "0.1", True, float("nan"), -1):
        with pytest.raises(ValueError, match="got lr="):
            optim.SGD(lr=lr)
    with pytest.raises(TypeError, match=r"params=0.1.*lr=0.1"):
        optim.SGD(0.1)


def test_functional_weights_are_not_trained(data):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = np.ones((3, 4))

        def forward(self, x):
            return F.linear(x, self.matrix)

    model = Fixed()
    fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))(*data)
    np.testing.assert_array_equal(model.matrix, 1)


def trained(steps, data, optimizer=None, model=None):
    model = network() if model is None else model
    optimizer = optim.SGD(lr=0.1, momentum=0.9, dampening=0.5) if optimizer is None else optimizer
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optimizer)
    return model, optimizer, [step(*data) for _ in range(steps)]


@pytest.mark.parametrize("already_bound", [False, True])
def test_a_training_goes_on_from_its_state(data, already_bound):
    fastnn.manual_seed(3)
    start = network().state_dict()
    whole = network()
    whole.load_state_dict(start)
    _, _, losses = trained(6, data, model=whole)

    model = network()
    model.load_state_dict(start)
    _, optimizer, first = trained(3, data, model=model)
    saved_model, saved = model.state_dict(), optimizer.state_dict()
    resumed, fresh = network(), optim.SGD(lr=7.0)
    if already_bound:
        trained(1, data, fresh, resumed)
    resumed.load_state_dict(saved_model)
    fresh.load_state_dict(saved)
    assert fresh.param_groups[0]["lr"] == 0.1
    _, _, rest = trained(3, data, fresh, resumed)
    assert first + rest == losses  # bit by bit


def test_state_dict_of_an_optimizer_is_a_copy(data):
    _, optimizer, _ = trained(2, data)
    saved = optimizer.state_dict()
    saved["state"][0]["momentum_buffer"][...] = 0
    saved["param_groups"][0]["lr"] = 5.0
    assert np.abs(optimizer.state_dict()["state"][0]["momentum_buffer"]).max() > 0
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("state"), r"without \['state'\]"),
        (lambda s: s["param_groups"].append({}), "got 2 parameter groups, expected 1"),
        (lambda s: s["param_groups"][0]["params"].pop(), "got 3 parameters, expected 4"),
        (lambda s: s["param_groups"][0].pop("lr"), r"no options \['lr'\]"),
        (lambda s: s["param_groups"][0].update(momentum=-1), "got momentum=-1"),
        (
            lambda s: s["state"][0].update(momentum_buffer=np.zeros((4, 8))),
            r"parameter 0: got momentum_buffer of shape \(4, 8\), expected \(8, 4\)",
        ),
        (lambda s: s["state"].update({9: {}}), "state of parameter 9, expected 0 to 3"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(data, change, message):
    _, optimizer, _ = trained(2, data)
    before, loaded = optimizer.state_dict(), optimizer.state_dict()
    loaded["param_groups"][0]["lr"] = 0.5
    change(loaded)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(loaded)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, arrays in before["state"].items():
        np.testing.assert_array_equal(
            after["state"][number]["momentum_buffer"], arrays["momentum_buffer"]
        )


def test_state_dicts_go_to_pytorch_and_come_back(data):
    torch = pytest.importorskip("torch")
    model, optimizer, _ = trained(3, data)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in model.state_dict().items()})
    sgd = torch.optim.SGD(theirs.parameters(), lr=7.0)
    saved = optimizer.state_dict()
    tensors = {
        number: {name: torch.tensor(array) for name, array in arrays.items()}
        for number, arrays in saved["state"].items()
    }
    sgd.load_state_dict(
        {
            **sgd.state_dict(),
            "state": tensors,
            "param_groups": [{**sgd.state_dict()["param_groups"][0], **saved["param_groups"][0]}],
        }
    )
    x, y = map(torch.tensor, data)

    def their_step():
        sgd.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(x), y)
        loss.backward()
        sgd.step()
        return loss.item()

    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optimizer)
    np.testing.assert_allclose(
        [step(*data) for _ in range(3)], [their_step() for _ in range(3)], rtol=1e-12
    )

    back = optim.SGD(lr=1.0)
    resumed = network()
    resumed.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    back.load_state_dict(sgd.state_dict())
    _, _, losses = trained(3, data, back, resumed)
    np.testing.assert_allclose(losses, [their_step() for _ in range(3)], rtol=1e-12)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (lambda layer: layer, TypeError, "got params of type Linear, expected a list"),
        (lambda layer: layer.weight, TypeError, "got params of type Parameter, expected a list"),
        (lambda layer: {"params": [layer.weight]}, TypeError, "got params of type dict"),
        (lambda layer: [{"lr": 0.1}], TypeError, "expected a dict with 'params'"),
        (lambda layer: [{"params": [layer.bias]}, layer.weight], TypeError, "expected a dict with"),
        (lambda layer: [layer.bias, layer.bias], ValueError, r"shape \(2,\) is given twice"),
        (
            lambda layer: [{"params": [layer.bias]}, {"params": [layer.bias]}],
            *(ValueError, r"shape \(2,\) is given twice"),
        ),
    ],
)
def test_what_is_no_list_of_parameters(params, error, message):
    with pytest.raises(error, match=message):
        optim.SGD(params(nn.Linear(3, 2)), lr=0.1)


@pytest.mark.parametrize("value", [10**400, np.array([0.1]), 1j, "0.1"])
def test_options_that_are_no_finite_numbers(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        optim.SGD(lr=value)
    with pytest.raises(ValueError, match="expected True or False"):
        optim.SGD(lr=0.1, nesterov="yes")


def test_two_optimizers_of_one_model_by_turns(data):
    """As in an adversarial training: each step has its own part, and neither compiles again."""
    torch = pytest.importorskip("torch", reason="the reference is PyTorch")
    ours = network()
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    theirs = theirs.double()
    ours.load_state_dict(theirs.state_dict())
    options = ({"lr": 0.1, "momentum": 0.9}, {"lr": 0.2, "momentum": 0.5, "weight_decay": 0.1})
    pairs = []
    for part, own in zip((0, 2), options):
        step = fastnn.TrainingStep(
            ours, nn.CrossEntropyLoss(), optim.SGD(ours[part].parameters(), **own)
        )
        pairs.append((step, torch.optim.SGD(theirs[part].parameters(), **own)))
    X, y = data
    programs = []
    for turn in range(8):
        step, optimizer = pairs[turn % 2]
        theirs.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(y))
        loss.backward()
        optimizer.step()
        assert step(X, y) == pytest.approx(loss.item(), rel=1e-12)
        programs.append(step.programs.current)
    assert programs[4:] == 2 * programs[2:4]  # after each has laid out its own parameters


def test_an_optimizer_of_nothing_trains_nothing(data):
    model = network()
    step = fastnn.TrainingStep(
        model, nn.CrossEntropyLoss(), optim.SGD([{"params": []}], lr=0.1), max_grad_norm=1.0
    )
    before = model.state_dict()
    step(*data)
    step.epoch(*data)
    assert all((before[key] == value).all() for key, value in model.state_dict().items())
