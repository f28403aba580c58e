"""Dropout: how much is kept, and that the mask depends on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional

DTYPES = (np.float32, np.float64)
# Odd, and large enough for a team of threads.
SHAPE = (257, 1001)


def masked(p, dtype=np.float64, shape=SHAPE):
    """What dropout leaves of ones, and of a gradient of ones."""
    ones = np.ones(shape, dtype)
    output, pullback = fastnn.vjp(nn.Dropout(p), ones)
    return output, pullback(ones)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_share_kept_and_scaling(p, dtype):
    output, _ = masked(p, dtype)
    kept = output != 0
    deviation = (p * (1 - p) / output.size) ** 0.5
    assert abs(kept.mean() - (1 - p)) < 5 * deviation
    np.testing.assert_array_equal(output[kept], dtype(1 / (1 - p)))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_rows_and_columns_are_dropped_independently(p):
    kept = masked(p)[0] != 0
    share = np.cov(kept[:, :-1].ravel(), kept[:, 1:].ravel())[0, 1] / (p * (1 - p))
    assert abs(share) < 5 / kept.size**0.5
    for axis, count in ((0, SHAPE[0]), (1, SHAPE[1])):
        spread = kept.mean(axis).std() / (p * (1 - p) / count) ** 0.5
        assert abs(spread - 1) < 0.25


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 10), (17, 48), SHAPE, (5, 3, 7)])
def test_backward_has_the_mask_of_forward(shape, dtype):
    output, gradient = masked(0.4, dtype, shape)
    np.testing.assert_array_equal(gradient, output)


def test_backward_has_the_mask_of_forward_in_the_middle_of_a_network():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(48, 48), nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.3))
    model.astype(np.float64)
    model[0].weight.data, model[0].bias.data = np.eye(48), np.full(48, 10.0)
    x = rng.normal(size=(33, 48))
    output, pullback = fastnn.vjp(model, x)
    gradient = pullback(np.ones_like(output))
    np.testing.assert_allclose(gradient * (x + 10), output, rtol=1e-13, atol=0)
    values = np.unique(gradient.round(12))
    np.testing.assert_allclose(values, [0, 1 / 0.5 / 0.7], rtol=1e-11)


def test_layers_of_a_network_have_masks_of_their_own():
    class Both(nn.Module):
        def forward(self, x):
            return functional.dropout(x), functional.dropout(x)

    first, second = Both()(np.ones(SHAPE))
    agreement = ((first != 0) == (second != 0)).mean()
    assert abs(agreement - 0.5) < 0.01


def test_each_run_of_a_module_has_a_mask_of_its_own():
    layer, ones = nn.Dropout(0.5), np.ones(SHAPE)
    agreement = ((layer(ones) != 0) == (layer(ones) != 0)).mean()
    assert abs(agreement - 0.5) < 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_seed_same_mask_whatever_the_threads(dtype):
    results = []
    for threads in (1, 2, 3):
        fastnn.manual_seed(7)
        with fastnn.num_threads(threads):
            layer = nn.Dropout(0.5)
            results.append([layer(np.ones(SHAPE, dtype)), *masked(0.3, dtype)])
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


def test_same_seed_same_mask_in_both_precisions():
    masks = []
    for dtype in DTYPES:
        fastnn.manual_seed(7)
        masks.append(nn.Dropout(0.5)(np.ones(SHAPE, dtype)) != 0)
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize(
    "run",
    [
        lambda ones: nn.Dropout(0.5)(ones),
        lambda ones: functional.dropout(ones),
        lambda ones: fastnn.vjp(nn.Dropout(0.5), ones)[0],
    ],
    ids=["module", "functional", "vjp"],
)
def test_another_seed_gives_another_mask(run):
    masks = []
    for seed in (1, 2, 1):
        fastnn.manual_seed(seed)
        masks.append(run(np.ones(SHAPE)) != 0)
    np.testing.assert_array_equal(masks[0], masks[2])
    assert abs((masks[0] == masks[1]).mean() - 0.5) < 0.01


def test_training_repeats_with_the_seed_whatever_the_threads():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(256, 64)).astype(np.float32), rng.integers(0, 10, 256)

    def losses(seed, threads):
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 300), nn.Dropout(0.5), nn.Linear(300, 10))
        fastnn.manual_seed(seed)
        with fastnn.num_threads(threads):
            step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
            return [step(x, labels) for _ in range(5)]

    assert losses(1, 1) == losses(1, 2) == losses(1, 3)
    assert losses(1, 1) != losses(2, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [nn.Dropout(0.5).eval(), nn.Dropout(0.0)], ids=["eval", "p 0"])
def test_identity(layer, dtype):
    x = np.random.default_rng(0).normal(size=(17, 48)).astype(dtype)
    output = layer(x)
    np.testing.assert_array_equal(output, x)
    assert output.dtype == dtype and not np.shares_memory(output, x)


def test_gradient_of_the_identity():
    x = np.random.default_rng(0).normal(size=(17, 48))
    model = nn.Sequential(nn.Tanh(), nn.Dropout(0.5).eval(), nn.Dropout(0.0))
    output, pullback = fastnn.vjp(model, x)
    np.testing.assert_allclose(output, np.tanh(x), rtol=1e-14)
    np.testing.assert_allclose(pullback(x), x * (1 - np.tanh(x) ** 2), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_p_1_leaves_nothing(dtype):
    output, gradient = masked(1.0, dtype)
    assert not output.any() and not gradient.any()


def test_nan_and_infinity_are_not_hidden():
    x = np.ones((2, 4096))
    x[0], x[1, ::2] = np.nan, np.inf
    output = nn.Dropout(0.5)(x)
    assert np.isnan(output[0]).all()
    assert not np.isfinite(output[1, ::2]).any()
    assert np.isfinite(output[1, 1::2]).all()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_out_of_range(p):
    with pytest.raises(ValueError, match=f"got p={p}, expected 0 to 1"):
        nn.Dropout(p)
    for function in (nn.functional.dropout, nn.functional.dropout2d):
        with pytest.raises(ValueError, match=f"got p={p}, expected 0 to 1"):
            function(np.ones((1, 2, 3, 3)), p, training=False)


def images_kept(p, dtype=np.float64, shape=(33, 70, 5, 4)):
    """Which channels of images of ones Dropout2d keeps, and what it gives and takes back."""
    ones = np.ones(shape, dtype)
    output, pullback = fastnn.vjp(nn.Dropout2d(p), ones)
    return output[:, :, 0, 0] != 0, output, pullback(ones)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_whole_channels_are_dropped(p, dtype):
    kept, output, gradient = images_kept(p, dtype)
    expected = np.where(kept, dtype(1 / (1 - p)), 0)[:, :, None, None]
    np.testing.assert_array_equal(output, np.broadcast_to(expected, output.shape))
    np.testing.assert_array_equal(gradient, output)
    assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / kept.size) ** 0.5
    # Neither all examples nor all channels share a mask.
    assert len(np.unique(kept, axis=0)) == len(kept)
    assert len(np.unique(kept, axis=1).T) > kept.shape[1] // 2


def test_channels_dropped_by_the_same_seed_whatever_the_threads():
    masks = []
    for threads in (1, 2, 3):
        for dtype in DTYPES:
            fastnn.manual_seed(7)
            with fastnn.num_threads(threads):
                masks.append(images_kept(0.5, dtype)[0])
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])
    assert (images_kept(0.5)[0] != masks[0]).any()


def test_channels_stay_in_inference():
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 2))
    np.testing.assert_array_equal(nn.Dropout2d(0.5).eval()(x), x)
    with pytest.raises(ValueError, match="height"):
        nn.Dropout2d(0.5)(x[:, :, 0, 0])
