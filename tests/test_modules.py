"""Modules: what is inside, state, initial values, summary, looks."""

import copy
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import functional as F
from fastnn.nn import init


@pytest.fixture
def model(rng):
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))


def test_names(model):
    assert list(model.state_dict()) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
        "3.weight",
        "3.bias",
    ]
    assert [name for name, _ in model.named_parameters()] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
    ]


def test_repr(model):
    assert repr(model).splitlines()[1] == (
        "  (0): Linear(in_features=4, out_features=5, bias=True)"
    )


def test_state_round_trip(model, rng):
    x = rng.standard_normal((8, 4)).astype(np.float32)
    model(x)  # moves the running averages
    other = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.eval()(x), model.eval()(x))


def test_train_mode_moves_running_averages(model, rng):
    x = rng.standard_normal((8, 4)).astype(np.float32)
    hidden = model[0](x).astype(np.float64)
    model(x)
    batchnorm = model[1]
    np.testing.assert_allclose(batchnorm.running_mean, 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(batchnorm.running_var, 0.9 + 0.1 * hidden.var(0, ddof=1), rtol=1e-4)
    assert batchnorm.num_batches_tracked == 1
    before = batchnorm.running_mean.copy()
    model.eval()(x)
    np.testing.assert_array_equal(batchnorm.running_mean, before)


def test_writing_to_data_is_seen(model):
    x = np.ones((2, 4), np.float32)
    model.eval()(x)
    model[3].weight.data[...] = 0
    model[3].bias.data = [1.0, 2.0]
    np.testing.assert_array_equal(model(x), [[1, 2], [1, 2]])


def test_changing_a_module_is_seen():
    model = nn.Sequential(nn.Linear(3, 3), nn.LeakyReLU(0.1))
    x = -np.ones((1, 3), np.float32) * 5
    before = model(x)
    model[1].negative_slope = 0.5
    linear = model[0](x)
    np.testing.assert_allclose(model(x), np.where(linear > 0, linear, 0.5 * linear), rtol=1e-6)
    assert before.shape == (1, 3)


def test_batches_of_any_size(model, rng):
    x = rng.standard_normal((300, 4)).astype(np.float32)
    expected = model.eval()(x)
    for size in (1, 7, 300, 2, 299):
        np.testing.assert_allclose(model(x[:size]), expected[:size], rtol=1e-6, atol=1e-6)


def test_summary(model):
    summary = model.summary((4,), batch_size=10)
    assert summary.parameters == 4 * 5 + 5 + 10 + 5 * 2 + 2
    assert summary.layers[0].output_shape == (5,)
    assert summary.layers[0].flops == 2 * 4 * 5 + 5
    assert "BatchNorm1d" in str(summary) and "memory of the plan" in str(summary)
    assert model.training


@pytest.mark.parametrize(
    "fill, std, low, high",
    [
        (lambda p: init.normal_(p, 1.0, 3.0), 3.0, None, None),
        (lambda p: init.uniform_(p, -1, 3), 4 / 12**0.5, -1, 3),
        (lambda p: init.xavier_normal_(p, 2.0), 2 * (2 / 500) ** 0.5, None, None),
        (lambda p: init.xavier_uniform_(p), (2 / 500) ** 0.5, -((6 / 500) ** 0.5), None),
        (lambda p: init.kaiming_normal_(p, nonlinearity="relu"), (2 / 200) ** 0.5, None, None),
        (
            lambda p: init.kaiming_normal_(p, mode="fan_out", nonlinearity="tanh"),
            5 / 3 / 300**0.5,
            None,
            None,
        ),
        (lambda p: init.kaiming_uniform_(p, a=5**0.5), (1 / 3 / 200) ** 0.5, -(200**-0.5), None),
        (lambda p: init.zeros_(p), 0, 0, 0),
        (lambda p: init.constant_(p, 2.5), 0, 2.5, 2.5),
    ],
)
def test_init(fill, std, low, high, rng):
    layer = nn.Linear(200, 300)
    assert fill(layer.weight) is layer.weight
    values = layer.weight.data
    assert values.std() == pytest.approx(std, rel=0.02, abs=1e-7)
    if low is not None:
        assert values.min() >= low - 1e-6
    if high is not None:
        assert values.max() <= high + 1e-6


def test_init_errors():
    with pytest.raises(ValueError, match="a vector has no fan"):
        init.xavier_normal_(nn.Linear(3, 2).bias)
    with pytest.raises(ValueError, match="nonlinearity 'swish'"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="standard deviation"):
        init.normal_(np.zeros(3), std=-1)


def test_functional_on_arrays(rng):
    x = rng.standard_normal((4, 6))
    weight, bias = rng.standard_normal((3, 6)), rng.standard_normal(3)
    np.testing.assert_allclose(F.linear(x, weight, bias), x @ weight.T + bias, rtol=1e-12)
    np.testing.assert_allclose(F.maxout(x, 2), np.maximum(x[:, :3], x[:, 3:]))
    np.testing.assert_allclose(F.concatenate([x, x]), np.hstack([x, x]))
    loss = F.cross_entropy(x, np.array([0, 1, 2, 3]))
    shifted = x - x.max(1, keepdims=True)
    expected = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(4), np.arange(4)]
    assert float(loss) == pytest.approx(expected.mean(), rel=1e-12)


def test_module_list_and_nested_modules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])

        def forward(self, x):
            for layer in self.layers:
                x = F.tanh(layer(x))
            return x

    net = Net()
    assert next(iter(net.state_dict())) == "layers.0.weight"
    assert net(np.zeros((2, 3))).shape == (2, 3)
    assert fastnn.gradient_check(net, np.ones((2, 3)))


def test_forgotten_super_init():
    class Forgets(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"before super\(\).__init__\(\)"):
        Forgets()


def test_assigning_to_a_buffer_keeps_its_precision(rng):
    layer = nn.BatchNorm1d(3).eval()
    x = rng.standard_normal((4, 3)).astype(np.float32)
    layer(x)
    layer.running_mean = np.array([1.0, 2.0, 3.0])[::-1]  # float64 and strided
    assert layer.running_mean.dtype == np.float32
    np.testing.assert_allclose(layer(x), x - [3.0, 2.0, 1.0], rtol=1e-4, atol=1e-5)
    assert layer.state_dict()["running_mean"][0] == 3
    layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    np.testing.assert_allclose(layer(x).mean(0), 0, atol=1e-6)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_an_array_does_not_replace_a_parameter():
    layer = nn.Linear(3, 2)
    with pytest.raises(TypeError, match=r"Linear.weight: got ndarray, .* weight.data"):
        layer.weight = np.zeros((2, 3))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert layer(np.ones((1, 3))).shape == (1, 2)


def test_deleting_a_layer_is_seen():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = -np.eye(3, dtype=np.float32)
    before = model(x)
    delattr(model, "1")
    np.testing.assert_array_equal(np.maximum(model(x), 0), before)
    assert (model(x) != before).any()


@pytest.mark.parametrize(
    "mean", [np.zeros(6), np.zeros(6, np.float16), np.zeros(12, np.float32)[::2]]
)
def test_arrays_that_a_kernel_would_misread(mean, rng):
    x = rng.standard_normal((4, 6)).astype(np.float32)
    with pytest.raises(TypeError, match="C-contiguous one of float32"):
        F.batch_norm(x, mean, np.ones(6, np.float32))


def test_shared_layers_have_the_keys_of_pytorch():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    state = {key: np.ones_like(value) for key, value in model.state_dict().items()}
    model.load_state_dict(state)
    np.testing.assert_array_equal(shared.weight.data, 1)


def test_state_dict_must_be_a_mapping():
    with pytest.raises(TypeError, match="got NoneType, expected a mapping"):
        nn.Linear(2, 2).load_state_dict(None)


def test_flatten_some_axes():
    x = np.arange(120).reshape(2, 3, 4, 5)
    for start, end in [(1, -1), (1, 2), (2, 3), (-2, -1), (3, 3)]:
        first, last = start % 4, end % 4
        shape = (*x.shape[:first], -1, *x.shape[last + 1 :])
        np.testing.assert_array_equal(nn.Flatten(start, end)(x), x.reshape(shape))
    assert nn.Flatten()(np.ones(3)).shape == (3, 1)
    for start, end in [(0, -1), (2, 1), (1, 4)]:
        with pytest.raises(ValueError, match="expected axes after the batch"):
            nn.Flatten(start, end)(x)


def test_axis_of_softmax(rng):
    x = rng.standard_normal((3, 4))
    np.testing.assert_array_equal(nn.Softmax(dim=1)(x), F.softmax(x, -1))
    np.testing.assert_array_equal(nn.LogSoftmax(1)(x), F.log_softmax(x))
    with pytest.raises(ValueError, match="dim=0"):
        nn.Softmax(dim=0)(x)


def test_channels_of_sequences_are_axis_1():
    x = np.random.default_rng(0).normal(size=(4, 3, 5))
    layer = nn.BatchNorm1d(3).astype(np.float64)
    mean, variance = x.mean((0, 2), keepdims=True), x.var((0, 2), keepdims=True)
    np.testing.assert_allclose(layer(x), (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-12)
    slopes = np.array([0.1, 0.2, 0.3])
    expected = np.where(x > 0, x, slopes[:, None] * x)
    np.testing.assert_allclose(nn.functional.prelu(x, slopes), expected, rtol=1e-15)


def test_small_things_of_pytorch(model, rng):
    model.add_module("4", nn.Identity(2, anything=True))
    assert len(model) == 5 and len(model.append(nn.ReLU(inplace=True))) == 6
    assert len(list(model.buffers())) == 3
    x = rng.standard_normal((4, 4))
    fastnn.vjp(model, x)[1](np.ones((4, 2)))
    assert (model[3].weight.grad != 0).any()
    model.zero_grad()
    assert all((p.grad == 0).all() for p in model.parameters())
    with pytest.raises(TypeError, match="expected a Module"):
        model.append(3)


def test_summary_shows_images_as_users_see_them():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2))
    shapes = [layer.output_shape for layer in model.summary((3, 6, 4)).layers]
    assert shapes == [(3, 6, 4), (3, 3, 2), (18,), (2,)]


def test_programs_of_both_modes_are_kept(rng):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    step = fastnn.TrainingStep(model, nn.MSELoss(), fastnn.optim.SGD(lr=0.1))
    x = rng.standard_normal((4, 3)).astype(np.float32)
    step(x, x)
    trained, training, inference = step.programs.current, model(x), model.eval()(x)
    programs = [*model._programs.by_modes.values()]
    step(x, x)
    assert step.programs.current is not trained
    model.train()(x)
    step(x, x)
    assert step.programs.current is trained
    assert [*model._programs.by_modes.values()] == programs and len(programs) == 2
    assert not np.array_equal(training, inference)


class Scaled(nn.Module):
    """Reads attributes of many kinds."""

    def __init__(self):
        super().__init__()
        self.factor, self.taps, self.by_name = np.float32(2), [1, 2], {"a": 1}
        self.function = lambda x: x

    def forward(self, x):
        return self.function(x * self.factor * self.taps[0] * self.by_name["a"])


def test_an_attribute_of_any_kind_is_compiled_anew():
    model, x = Scaled(), np.ones((2, 3), np.float32)
    seen = [model(x)[0, 0]]
    for name, value in [
        ("factor", np.float32(3)),
        ("taps", [5]),
        ("by_name", {"a": 7}),
        ("function", lambda x: -x),
        ("factor", np.int64(2)),
    ]:
        setattr(model, name, value)
        seen.append(model(x)[0, 0])
    assert seen == [2, 3, 15, 105, -105, -70]


def test_class_weights_assigned_anew(rng):
    loss, scores, labels = nn.CrossEntropyLoss(), rng.standard_normal((2, 3)), np.array([0, 1])
    for first in range(1, 20):
        loss.weight = None  # so that the next array may get the memory of the one before it
        loss.weight = np.array([first, 1.0, 1.0])
        expected = nn.CrossEntropyLoss([first, 1.0, 1.0])(scores, labels)
        assert loss(scores, labels) == expected
    with pytest.raises(ValueError, match="read-only"):
        nn.CrossEntropyLoss([1.0, 2.0]).weight[0] = 3


def test_modules_of_a_sequence_by_number():
    linear, relu, tanh = nn.Linear(3, 2), nn.ReLU(), nn.Tanh()
    for sequence in (nn.Sequential(linear, relu), nn.ModuleList([linear, relu])):
        sequence[-1] = tanh
        assert list(sequence) == [linear, tanh]
        sequence.insert(1, relu).extend([nn.Identity(), nn.Sigmoid()])
        del sequence[3]
        assert [type(part) for part in sequence] == [nn.Linear, nn.ReLU, nn.Tanh, nn.Sigmoid]
        assert [name for name, _ in sequence.named_children()] == ["0", "1", "2", "3"]
        part = sequence[2:]
        assert type(part) is type(sequence)
        assert [name for name, _ in part.named_children()] == ["2", "3"]  # as in PyTorch
        with pytest.raises(IndexError, match="index 4, expected one of 4"):
            sequence[4]
        with pytest.raises(TypeError, match="got int, expected a Module"):
            sequence[0] = 3


def test_a_replaced_layer_is_trained(rng):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    step = fastnn.TrainingStep(model, nn.MSELoss(), fastnn.optim.SGD(lr=0.1))
    x = rng.standard_normal((5, 3))
    step(x, np.ones((5, 2)))
    model[2] = nn.Linear(4, 1)
    before = model.state_dict()
    step(x, np.ones((5, 1)))
    assert all((before[key] != value).any() for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["forward", "training", "state_dict", "a.b", "", 0])
def test_names_that_no_module_can_have(name):
    with pytest.raises((TypeError, ValueError), match="as the name of a module, expected"):
        nn.Sequential({name: nn.ReLU()})


def test_what_is_inside_is_listed_anew_when_it_changes():
    """After it was listed once, which is remembered."""

    def names(module):
        return [name for name, _ in module.named_parameters()], [
            name for name, _ in module.named_modules("net")
        ]

    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert names(model) == (["0.weight", "0.bias"], ["net", "net.0", "net.1"])
    model[0].bias = None
    assert names(model)[0] == ["0.weight"]
    model.append(nn.Sequential(nn.Linear(3, 3)))
    assert names(model) == (
        ["0.weight", "2.0.weight", "2.0.bias"],
        ["net", "net.0", "net.1", "net.2", "net.2.0"],
    )
    model[2].add_module("0", model[0])  # shared: listed once
    assert names(model) == (["0.weight"], ["net", "net.0", "net.1", "net.2"])
    weight = nn.Parameter(np.ones((3, 2)))
    model[0].weight = weight
    assert next(model.parameters()) is weight
    twin = copy.deepcopy(model)
    assert next(twin.parameters()) is twin[0].weight is not weight
    del model[0].weight
    assert names(model)[0] == []


def test_a_listed_network_is_freed_at_once():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert len(list(model.modules())) == 3 and len(list(model[0].parameters())) == 2
    gone = weakref.ref(model)
    del model
    assert gone() is None


@pytest.mark.parametrize(
    "middle", [nn.ReLU(), nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Tanh())]
)
def test_a_pullback_may_be_called_again(middle):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(6, 8), middle, nn.Linear(8, 3))
    y, pullback = fastnn.vjp(model, rng.standard_normal((4, 6)))
    first, weight = pullback(y), model[0].weight.grad.copy()
    pullback(rng.standard_normal(y.shape))
    np.testing.assert_array_equal(pullback(y), first)
    np.testing.assert_array_equal(model[0].weight.grad, weight)


def test_loading_tells_what_was_not_in_common():
    model = nn.Linear(2, 2)
    state = model.state_dict()
    assert model.load_state_dict(state) == ([], [])
    state["module.bias"] = state.pop("bias")
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["bias"], ["module.bias"])


def test_tensors_of_every_kind():
    torch = pytest.importorskip("torch", reason="tensors are PyTorch's")
    model, values = nn.Linear(2, 2), torch.arange(4.0).reshape(2, 2)
    model.load_state_dict({"weight": torch.nn.Parameter(values)}, strict=False)
    np.testing.assert_array_equal(model.weight.data, values)
    with pytest.raises(TypeError, match="^weight: .*BFloat16"):
        model.load_state_dict({"weight": values.bfloat16()}, strict=False)


def test_a_kink_beside_an_input_is_no_wrong_gradient():
    """Between x - eps and x + eps ReLU has another slope than at x."""
    for x in (5e-7, -5e-7):
        check = fastnn.gradient_check(nn.ReLU(), np.array([[x, 1.0]]))
        assert check, check
