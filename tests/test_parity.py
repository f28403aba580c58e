"""The same weights and batches give the same losses in PyTorch."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim

torch = pytest.importorskip("torch", reason="parity is measured against PyTorch, which is absent")

STEPS = 50


def layers(library):
    """The same network in either library."""
    return library.Sequential(
        library.Linear(17, 33),
        library.BatchNorm1d(33),
        library.ReLU(),
        library.Linear(33, 20),
        library.Tanh(),
        library.Linear(20, 20),
        library.PReLU(),
        library.Linear(20, 10),
        library.LeakyReLU(0.1),
        library.Linear(10, 5),
    )


def losses(library, dtype):
    return {
        "cross_entropy": library.CrossEntropyLoss(label_smoothing=0.1, ignore_index=3),
        "multi_margin": library.MultiMarginLoss(p=2),
        "squared": library.MSELoss(),
        "binary": library.BCEWithLogitsLoss(),
    }


@pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin", "squared", "binary"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 1e-2},
        {"lr": 0.1},
    ],
    ids=["nesterov", "dampening", "plain"],
)
def test_fifty_steps(loss, dtype, options):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    theirs = layers(torch.nn).to(getattr(torch, dtype))
    ours = layers(nn).astype(dtype)
    ours.load_state_dict(theirs.state_dict())
    their_loss, our_loss = losses(torch.nn, dtype)[loss], losses(nn, dtype)[loss]
    their_optimizer = torch.optim.SGD(theirs.parameters(), **options)
    step = fastnn.TrainingStep(ours, our_loss, optim.SGD(**options))
    rng = np.random.default_rng(0)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for number in range(STEPS):
        x = rng.standard_normal((32, 17)).astype(dtype)
        if loss in ("cross_entropy", "multi_margin"):
            y = rng.integers(0, 5, 32)
        else:
            y = rng.random((32, 5)).astype(dtype)
        their_optimizer.zero_grad()
        expected = their_loss(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        expected.backward()
        their_optimizer.step()
        got = step(x, y)
        assert got == pytest.approx(expected.item(), rel=tolerance), f"step {number}"
    for key, value in theirs.state_dict().items():
        scale = max(1.0, float(value.abs().max()))
        np.testing.assert_allclose(
            ours.state_dict()[key], value.numpy(), atol=tolerance * scale * 10, err_msg=key
        )


def test_clipping_and_groups_agree():
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    theirs = theirs.double()
    ours = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).astype("float64")
    ours.load_state_dict(theirs.state_dict())
    groups = {"lr": 0.5, "momentum": 0.9}
    their_optimizer = torch.optim.SGD(
        [
            {"params": theirs[0].parameters(), "weight_decay": 0.1},
            {"params": theirs[2].parameters()},
        ],
        **groups,
    )
    our_optimizer = optim.SGD(
        [{"params": ours[0].parameters(), "weight_decay": 0.1}, {"params": ours[2].parameters()}],
        **groups,
    )
    step = fastnn.TrainingStep(ours, nn.CrossEntropyLoss(), our_optimizer, max_grad_norm=0.3)
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.standard_normal((8, 6)), rng.integers(0, 3, 8)
        their_optimizer.zero_grad()
        expected = torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(x)), torch.from_numpy(y)
        )
        expected.backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
        their_optimizer.step()
        assert step(x, y) == pytest.approx(expected.item(), rel=1e-10)
        assert step.grad_norm == pytest.approx(norm.item(), rel=1e-10)


def test_defaults_are_theirs():
    for ours, theirs in ((nn.Linear(200, 300), torch.nn.Linear(200, 300)),):
        bound = 1 / np.sqrt(200)
        for name in ("weight", "bias"):
            got, expected = getattr(ours, name).data, getattr(theirs, name).detach().numpy()
            assert got.shape == expected.shape
            assert np.abs(got).max() <= bound
            assert got.std() == pytest.approx(bound / np.sqrt(3), rel=0.15)
    assert {k: v.shape for k, v in layers(nn).state_dict().items()} == {
        k: tuple(v.shape) for k, v in layers(torch.nn).state_dict().items()
    }


def same_as_pytorch(ours, theirs, x, target, upstream):
    """Loss and gradient of one module beside PyTorch's."""
    x_torch = torch.tensor(x, requires_grad=True)
    loss_torch = theirs(x_torch, torch.as_tensor(target))
    upstream = np.asarray(upstream)[: len(x)] if loss_torch.ndim else np.asarray(1.7)
    upstream = np.broadcast_to(upstream, loss_torch.shape)
    loss_torch.backward(torch.tensor(upstream))
    loss, pullback = fastnn.vjp(ours, x, target)
    gradients = pullback(np.array(upstream))
    gradient = gradients[0] if isinstance(gradients, tuple) else gradients
    np.testing.assert_allclose(loss, loss_torch.detach().numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(gradient, x_torch.grad.numpy(), rtol=1e-10, atol=1e-13)


REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignored", [-100, 2, "all"])
def test_cross_entropy_options(reduction, weighted, smoothing, ignored, rng):
    x, labels = rng.standard_normal((9, 5)), rng.integers(0, 5, 9)
    labels[3] = 2
    if ignored == "all":  # the mean of nothing is NaN, with a gradient of zero
        labels[:], ignored = 2, 2
    weight = rng.random(5) + 0.1 if weighted else None
    same_as_pytorch(
        nn.CrossEntropyLoss(weight, ignored, reduction, smoothing),
        torch.nn.CrossEntropyLoss(
            None if weight is None else torch.tensor(weight),
            ignore_index=ignored,
            reduction=reduction,
            label_smoothing=smoothing,
        ),
        x,
        labels,
        rng.standard_normal(9),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("margin", [1.0, 0.3, -0.5])
def test_multi_margin_options(reduction, p, margin, rng):
    weight = rng.random(5) + 0.1
    same_as_pytorch(
        nn.MultiMarginLoss(p, margin, weight, reduction),
        torch.nn.MultiMarginLoss(p, margin, torch.tensor(weight), reduction=reduction),
        rng.standard_normal((9, 5)),
        rng.integers(0, 5, 9),
        rng.standard_normal(9),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy_options(reduction, weighted, rng):
    weight = rng.random(5) if weighted else None
    pos_weight = 3 * rng.random(5)
    same_as_pytorch(
        nn.BCEWithLogitsLoss(weight, reduction, pos_weight),
        torch.nn.BCEWithLogitsLoss(
            None if weight is None else torch.tensor(weight),
            reduction=reduction,
            pos_weight=torch.tensor(pos_weight),
        ),
        30 * rng.standard_normal((9, 5)),
        rng.random((9, 5)),
        rng.standard_normal((9, 5)),
    )


@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracking", [True, False])
def test_batch_normalization_options(momentum, affine, tracking, rng):
    options = {"momentum": momentum, "affine": affine, "track_running_stats": tracking}
    ours = nn.BatchNorm1d(5, **options).astype(np.float64)
    theirs = torch.nn.BatchNorm1d(5, **options).double()
    for training in (True, True, True, False):
        x = 3 * rng.standard_normal((7, 5)) + 1
        expected = theirs.train(training)(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(ours.train(training)(x), expected, rtol=1e-10, atol=1e-12)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(state[key], value.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("ReLU", ()),
        ("LeakyReLU", (0.1,)),
        ("LeakyReLU", (-0.1,)),
        ("LeakyReLU", (0.0,)),
        ("PReLU", ()),
        ("ELU", (1.5,)),
        ("Sigmoid", ()),
        ("Tanh", ()),
        ("Softmax", (1,)),
        ("LogSoftmax", (1,)),
    ],
)
def test_special_values(name, arguments):
    values = [np.inf, -np.inf, 0.0, -0.0, 1e-40, 88, -88, 1e30, -1e30, 5e-8, -5e-8]
    for x in (np.array([[np.nan, *values]], "f"), np.array([values[2:]], "f")):
        got = getattr(nn, name)(*arguments)(x)
        expected = getattr(torch.nn, name)(*arguments)(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-5)
