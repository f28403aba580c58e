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
