"""Networks that are no chains: residuals, shared layers, several heads, random graphs."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)

    def forward(self, x):
        x = x + F.relu(self.first(x))
        return x - F.tanh(self.second(x)) * 0.5


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x):
        return self.layer(F.relu(self.layer(F.tanh(self.layer(x)))))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(5, 7)
        self.left = nn.Linear(7, 3)
        self.right = nn.Linear(7, 2)

    def forward(self, x):
        h = F.relu(self.body(x))
        return {"classes": self.left(h), "values": self.right(h)}


class TwoLosses(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes = nn.CrossEntropyLoss()
        self.values = nn.MSELoss()

    def forward(self, outputs, targets):
        labels, values = targets
        return self.classes(outputs["classes"], labels) + 0.5 * self.values(
            outputs["values"], values
        )


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.last = nn.Linear(5, 3), nn.Linear(5, 4), nn.Linear(12, 2)

    def forward(self, x):
        return self.last(F.concatenate([F.relu(self.a(x)), x, F.sigmoid(self.b(x))]))


@pytest.mark.parametrize("build", [Residual, Shared, TwoHeads, Branches])
def test_gradients(build, rng):
    check = fastnn.gradient_check(build(), rng.standard_normal((6, 5)), samples=None)
    assert check, str(check)


def test_two_heads_train(rng):
    model = TwoHeads()
    step = fastnn.TrainingStep(model, TwoLosses(), optim.SGD(lr=0.1, momentum=0.9))
    x = rng.standard_normal((32, 5))
    targets = (rng.integers(0, 3, 32), rng.standard_normal((32, 2)))
    first = step(x, targets)
    for _ in range(200):
        last = step(x, targets)
    assert last < 0.5 * first
    outputs = model(x)
    assert outputs["classes"].shape == (32, 3) and outputs["values"].shape == (32, 2)


def test_two_inputs(rng):
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b * 2

    a, b = rng.standard_normal((2, 4, 3))
    np.testing.assert_allclose(Sum()(a, b), a + 2 * b)


def test_outputs_that_are_inputs_or_views(rng):
    class Both(nn.Module):
        def forward(self, x):
            return x, F.flatten(x), F.relu(x), F.relu(x)

    x = rng.standard_normal((4, 2, 3))
    same, flat, relu, again = Both()(x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(flat, x.reshape(4, 6))
    np.testing.assert_array_equal(relu, again)
    assert not np.shares_memory(same, x)
    relu[...] = 7
    assert not (again == 7).any()


# A random graph, with the derivative of its reference by complex-free forward mode: each value is
# a pair (number, tangent), so that the compiled gradient is checked against exact directional
# derivatives rather than differences.

UNARY = {
    "tanh": (F.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (
        F.sigmoid,
        lambda x: 1 / (1 + np.exp(-x)),
        lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
    ),
    "elu": (F.elu, lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.exp(np.minimum(x, 0))),
    "relu": (F.relu, lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
}

node = st.tuples(
    st.sampled_from(["linear", "add", "multiply", *UNARY]),
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(0, 2),
)


class RandomGraph(nn.Module):
    def __init__(self, nodes, width):
        super().__init__()
        self.nodes = tuple(nodes)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        values = [x]
        for kind, i, j, layer in self.nodes:
            a, b = values[i % len(values)], values[j % len(values)]
            if kind == "linear":
                values.append(self.layers[layer](a))
            elif kind == "add":
                values.append(a + b)
            elif kind == "multiply":
                values.append(F.tanh(a) * b)
            else:
                values.append(UNARY[kind][0](a))
        return values[-1], values[len(values) // 2]

    def reference(self, x, tangent_x, tangents):
        values = [(x, tangent_x)]
        for kind, i, j, layer in self.nodes:
            (a, da), (b, db) = values[i % len(values)], values[j % len(values)]
            if kind == "linear":
                weight, bias = self.layers[layer].weight.data, self.layers[layer].bias.data
                dweight, dbias = tangents[layer]
                values.append((a @ weight.T + bias, da @ weight.T + a @ dweight.T + dbias))
            elif kind == "add":
                values.append((a + b, da + db))
            elif kind == "multiply":
                t = np.tanh(a)
                values.append((t * b, (1 - t**2) * da * b + t * db))
            else:
                _, function, derivative = UNARY[kind]
                values.append((function(a), derivative(a) * da))
        return values[-1], values[len(values) // 2]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    nodes=st.lists(node, min_size=1, max_size=12),
    width=st.sampled_from([1, 3, 10]),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_random_graph(nodes, width, batch, seed):
    rng = np.random.default_rng(seed)
    fastnn.manual_seed(seed)
    model = RandomGraph(nodes, width).astype("float64")
    x, dx = rng.standard_normal((2, batch, width))
    tangents = [(rng.standard_normal((width, width)), rng.standard_normal(width)) for _ in range(3)]
    expected = model.reference(x, dx, tangents)
    outputs, pullback = fastnn.vjp(model, x)
    scale = 0.0
    upstream = [rng.standard_normal(output.shape) for output in outputs]
    directional = 0.0
    for output, (value, tangent), dy in zip(outputs, expected, upstream, strict=True):
        np.testing.assert_allclose(
            output, value, rtol=1e-9, atol=1e-9 * max(1, np.abs(value).max())
        )
        directional += (tangent * dy).sum()
        scale += np.abs(tangent * dy).sum()
    gradient = pullback(tuple(upstream))
    got = 0.0 if gradient is None else (gradient * dx).sum()
    used = {layer for kind, _, _, layer in nodes if kind == "linear"}
    for index, (dweight, dbias) in enumerate(tangents):
        if index in used:
            layer = model.layers[index]
            got += (layer.weight.grad * dweight).sum() + (layer.bias.grad * dbias).sum()
    assert got == pytest.approx(directional, rel=1e-8, abs=1e-8 * max(1.0, scale))
