"""Parameters of the user's own inside `forward`: whatever their order in memory, never frozen."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F

X = np.random.default_rng(0).standard_normal((5, 6))
W = np.random.default_rng(1).standard_normal((4, 6))


class Own(nn.Module):
    """A module of one parameter and a function of the test's."""

    def __init__(self, function, values=W):
        super().__init__()
        self.weight = nn.Parameter(values)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(6, 4).astype(np.float64)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def test_a_weight_made_without_storage_axes():
    module = Own(lambda m, x: F.linear(x, m.weight))
    np.testing.assert_allclose(module(X), X @ W.T, rtol=1e-12)
    module.weight.data[...] *= 2  # what inference rearranges once is seen to change
    np.testing.assert_allclose(module(X), 2 * X @ W.T, rtol=1e-12)
    assert fastnn.gradient_check(module, X)


def test_a_weight_that_takes_the_place_of_a_layers():
    layer = nn.Linear(6, 4)
    layer.weight = nn.Parameter(W)
    layer.bias = None
    np.testing.assert_allclose(layer(X), X @ W.T, rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_made_without_storage_axes(groups):
    rng = np.random.default_rng(2)
    kernels, images = rng.standard_normal((6, 4 // groups, 3, 2)), rng.standard_normal((2, 4, 5, 7))
    module = Own(lambda m, x: F.conv2d(x, m.weight, groups=groups), kernels)
    np.testing.assert_allclose(module(images), F.conv2d(images, kernels, groups=groups))
    assert fastnn.gradient_check(module, images)


def test_own_weights_are_trained_as_a_layers_are():
    x, target = X, X @ np.ones((6, 4))
    models = [Own(lambda m, x: F.linear(x, m.weight)), nn.Linear(6, 4, bias=False)]
    models[1].astype(np.float64).weight.data = W
    for model in models:
        step = fastnn.TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.1, momentum=0.9))
        for _ in range(5):
            step(x, target)
    np.testing.assert_allclose(models[0].weight.data, models[1].weight.data, rtol=1e-10)


def test_functions_of_parameters_alone_are_differentiated():
    module = Own(lambda m, x: F.linear(x, F.tanh(m.weight) * 0.5 - 1))
    np.testing.assert_allclose(module(X), X @ (np.tanh(W) * 0.5 - 1).T, rtol=1e-10)
    assert fastnn.gradient_check(module, X)
    module = Own(lambda m, x: F.linear(x, m.weight * m.weight))
    assert fastnn.gradient_check(module, X)
    module = Own(lambda m, x: F.linear(x, F.sigmoid(m.linear.weight)))  # lies as (in, out)
    expected = X @ (1 / (1 + np.exp(-module.linear.weight.data))).T
    np.testing.assert_allclose(module(X), expected, rtol=1e-10)
    assert fastnn.gradient_check(module, X)
    module = Own(lambda m, x: (x, F.relu(m.linear.weight)))
    np.testing.assert_array_equal(module(X)[1], np.maximum(module.linear.weight.data, 0))


def test_a_weight_shared_the_other_way_round():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(6, 4).astype(np.float64)

        def forward(self, x):
            return F.linear(F.tanh(self.encode(x)), self.encode.weight.T)

    module = Tied()
    weight, bias = module.encode.weight.data, module.encode.bias.data
    np.testing.assert_allclose(module(X), np.tanh(X @ weight.T + bias) @ weight, rtol=1e-10)
    np.testing.assert_array_equal(module.encode.weight.T, weight.T)
    assert fastnn.gradient_check(module, X)


DROPS = {
    "a parameter": lambda m, x: F.linear(x, F.dropout(m.weight, 0.5, m.training)),
    "by a module": lambda m, x: F.linear(x, m.drop(m.weight)),
    "a value of parameters": lambda m, x: F.linear(x, F.dropout(m.weight * 2, 0.5, m.training)),
    "computed once": lambda m, x: F.linear(x, F.dropout(F.tanh(m.weight), 0.5, m.training)),
}


@pytest.mark.parametrize("name", DROPS)
def test_dropout_of_parameters_draws_at_each_run(name):
    fastnn.manual_seed(0)
    module = Own(DROPS[name])
    assert len({module(X).tobytes() for _ in range(20)}) == 20
    np.testing.assert_array_equal(module.weight.data, W)
    whole = {"a value of parameters": 2 * W, "computed once": np.tanh(W)}.get(name, W)
    # Rows of the identity show the weights: each zero or doubled.
    seen = [module(np.eye(6)).T for _ in range(20)]
    for weight in seen:
        kept = weight != 0
        np.testing.assert_allclose(weight[kept], 2 * whole[kept], rtol=1e-10)
    assert 0.3 < np.mean([weight != 0 for weight in seen]) < 0.7
    module.eval()
    for _ in range(3):
        np.testing.assert_allclose(module(np.eye(6)).T, whole, rtol=1e-10)


def test_dropout_of_parameters_in_training():
    fastnn.manual_seed(0)
    module = Own(DROPS["computed once"])
    step = fastnn.TrainingStep(module, nn.MSELoss(), optim.SGD(lr=0.0))
    assert len({step(X, np.zeros((5, 4))) for _ in range(20)}) == 20
    step.forward(np.eye(6), np.zeros((6, 4)))
    step.backward()
    gone = module.weight.grad == 0  # where the mask is zero
    assert 0 < gone.sum() < gone.size


REFUSED = {
    "broadcast": (lambda m, x: x + m.bias, ValueError, "does not broadcast over the batch"),
    "rows": (lambda m, x: F.softmax(m.weight), TypeError, "softmax: got Parameter.*no batch"),
    "target": (lambda m, x: F.mse_loss(x, m.bias), TypeError, "mse_loss: got Parameter"),
    "numpy": (lambda m, x: F.linear(x, np.exp(m.weight)), TypeError, "would be compiled in"),
    "data as weight": (lambda m, x: F.linear(x, x), TypeError, "can't depend on the input"),
    "mask": (lambda m, x: F.linear(x, F.dropout(W)), TypeError, "computed once for all runs"),
    "axes": (lambda m, x: F.linear(x, m.bias), ValueError, r"shape \(6,\), expected \(out, in\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_is_refused(name):
    function, error, message = REFUSED[name]
    module = Own(function)
    module.bias = nn.Parameter(np.ones(6))
    with pytest.raises(error, match=message):
        module(X)


def test_arithmetic_outside_of_forward_says_what_to_use():
    with pytest.raises(TypeError, match="compute with its data"):
        nn.Parameter(W) * 2
    np.testing.assert_array_equal(F.relu(nn.Parameter(W)), np.maximum(W, 0))
