"""Additions that become a part of the node before them: which do, and what they compute."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F
from fastnn.nn.parameter import ensure_gradients


class Block(nn.Module):
    """Two convolutions beside the identity, or beside a 1 x 1 convolution."""

    def __init__(self, channels, filters, activation=F.relu):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.activation = activation
        self.shortcut = nn.Identity()
        if channels != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return self.activation(y + self.shortcut(x))


def network(widths, activation=F.relu):
    fastnn.manual_seed(0)
    blocks = [Block(a, b, activation) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(nn.Conv2d(3, widths[0], 3, padding=1), nn.ReLU(), *blocks, nn.Flatten())


def operators(model, x):
    """Names of the nodes of a training step, forward and backward."""
    step = fastnn.TrainingStep(model, nn.MSELoss())
    target = np.zeros_like(model(x))
    ensure_gradients(model.parameters())
    graph = step.compile(x, target, [x, target], len(x)).lowered.graph
    return [node.operator.name for node in graph.nodes]


def test_residual_sums_take_no_pass_of_their_own(rng):
    names = operators(network([16, 16, 16]), rng.standard_normal((3, 3, 9, 8)))
    assert "add" not in names
    # What is left is the gradient of the last activation, which no convolution precedes.
    assert names.count("activation") == 0 and names.count("activation_backward") == 1


def test_a_projection_that_is_no_winograd_keeps_its_gradients_sum(rng):
    # 15 channels: the gradients come from two kernels that add nothing.
    names = operators(network([15, 16]), rng.standard_normal((3, 3, 9, 8)))
    assert names.count("add") == 1


@pytest.mark.parametrize("activation", [F.relu, F.tanh, F.elu])
@pytest.mark.parametrize("widths", [[16, 16, 16], [16, 17, 17], [15, 16]])
def test_gradients(widths, activation, rng):
    model = network(widths, activation)
    check = fastnn.gradient_check(model, rng.standard_normal((2, 3, 6, 5)), samples=16)
    assert check, str(check)


def test_a_sum_that_others_read_stays(rng):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(5)

        def forward(self, x):
            y = self.norm(x)
            return y + x, y * 2.0, y + y

    x = rng.standard_normal((7, 5))
    normal = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    for got, want in zip(
        Twice().astype("float64")(x), (normal + x, 2 * normal, 2 * normal), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-12)
    check = fastnn.gradient_check(Twice(), x, samples=None)
    assert check, str(check)


def test_the_same_bits_at_any_number_of_threads(rng):
    x = rng.standard_normal((5, 3, 33, 30)).astype(np.float32)
    parameters = []
    before = fastnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            model = network([16, 16, 32])
            step = fastnn.TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.01, momentum=0.9))
            for _ in range(3):
                step(x, np.zeros((5, 32 * 33 * 30), np.float32))
            parameters.append([parameter.data.copy() for parameter in model.parameters()])
    finally:
        fastnn.set_num_threads(before)
    for several in parameters[1:]:
        for a, b in zip(parameters[0], several, strict=True):
            np.testing.assert_array_equal(a, b)
