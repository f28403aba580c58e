"""What inference computes once (BatchNorm in weights, prepared weights), and when it is stale."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim

IMAGES = np.random.default_rng(0).normal(size=(4, 3, 8, 8))


def network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 17, 3),
        nn.BatchNorm2d(17, affine=False),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(17 * 36, 5),
        nn.BatchNorm1d(5),
    )


def trained(dtype=np.float64):
    """A network whose running averages are no longer what they start as, in inference mode."""
    fastnn.manual_seed(0)
    model = network().astype(dtype)
    for _ in range(3):
        model(IMAGES.astype(dtype))
    return model.eval()


def fresh(model, images):
    """The outputs of a network that was never compiled, layer by layer: nothing is folded."""
    copy = network().astype(model.dtype)
    copy.load_state_dict(model.state_dict())
    copy.eval()
    for layer in copy.children():
        images = layer(images)
    return images


def kernels(model):
    (compiled,) = model._programs.programs.values()
    return compiled.lowered.program.kernel_names


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_folding_changes_nothing_but_rounding(dtype):
    model, images = trained(dtype), IMAGES.astype(dtype)
    expected = fresh(model, images)
    allowed = 100 * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(model(images), expected, atol=allowed)
    names = kernels(model)
    assert names.count("fold_batchnorm") == 3
    assert not any(name.startswith("batchnorm") for name in names)


def test_a_batchnorm_with_other_readers_is_not_folded():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            y = self.layer(x)
            return y + self.norm(y)

    model = Both().eval()
    x = np.ones((2, 3), np.float32)
    y = model.layer(x)
    np.testing.assert_allclose(model(x), y + model.norm(y), rtol=1e-6)
    assert "batchnorm_inference" in kernels(model)


def test_constants_are_kept():
    model = trained()
    before = model(IMAGES)
    # Memory that no view was asked for by the public way: the change is not seen.
    model[0].weight.storage[...] = 0
    np.testing.assert_array_equal(model(IMAGES), before)
    model[0].weight.data  # noqa: B018
    assert not np.array_equal(model(IMAGES), before)


def by_held_view(model):
    view = model[0].weight.data[0]
    model(IMAGES)
    view *= 2
    return view  # still held when the network is called


def by_data(model):
    model[3].weight.data[...] *= 0.5


def by_running_average(model):
    model[1].running_mean += 1


def by_a_pass_in_training(model):
    model.train()(IMAGES)
    model.eval()


def by_a_step(model):
    model.train()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    step(IMAGES, np.arange(4))
    model.eval()


def by_an_epoch(model):
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    step.epoch(IMAGES, np.arange(4), batch_size=2)


def by_state(model):
    state = {key: array * 1.5 for key, array in model.state_dict().items()}
    model.load_state_dict(state)


def by_initializer(model):
    nn.init.normal_(model[7].weight)


CHANGES = (
    by_held_view,
    by_data,
    by_running_average,
    by_a_pass_in_training,
    by_a_step,
    by_an_epoch,
    by_state,
    by_initializer,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_values_is_seen(change):
    model = trained()
    before = model(IMAGES)
    held = change(model)
    found = model(IMAGES)
    assert not np.allclose(found, before)
    np.testing.assert_allclose(found, fresh(model, IMAGES), atol=1e-12)
    del held


def test_training_in_a_callback_is_seen():
    model = trained()
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    outputs = []

    def look(*_):
        outputs.append((model(IMAGES), fresh(model, IMAGES)))

    for _ in range(3):
        step.epoch(IMAGES, np.arange(4), batch_size=2, callback=look)
    for found, expected in outputs:
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert not np.allclose(outputs[0][0], outputs[-1][0])


def test_inference_between_the_batches_of_an_epoch_sees_their_updates():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model[1].eval()  # fixed statistics, which inference folds into the weights
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 4)).astype(np.float32), rng.integers(0, 3, 64)
    seen = [model(X)]
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.5))
    for _ in range(3):
        step.epoch(X, y, callback=lambda *_: seen.append(model(X)))
        seen.append(model(X))
        assert np.array_equal(seen[-1], seen[-2]) and not np.array_equal(seen[-1], seen[-3])
        copy = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
        copy.load_state_dict(model.state_dict())
        assert np.array_equal(seen[-1], copy(X))


def test_a_view_of_a_bias_that_somebody_holds_is_seen():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    bias, X = model[0].bias.data, np.ones((2, 4), np.float32)
    first = model(X)
    bias += 1
    assert np.allclose(model(X), first + 1, atol=1e-4)
