"""Augmentation: crops, mirror images, normalization, and what decides them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import datasets, models, nn, optim

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 256, shape, dtype=np.uint8)


def normalized(images, mean, std):
    """In float64, by definition."""
    mean, std = (np.reshape(values, (-1, 1, 1)) for values in (mean, std))
    return (images / 255 - mean) / std


def possible(image, padding, flip):
    """Every crop of one image, with (down, right, mirrored)."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    for down, right in itertools.product(range(2 * padding + 1), repeat=2):
        crop = padded[:, down : down + height, right : right + width]
        yield (down, right, False), crop
        if flip:
            yield (down, right, True), crop[:, :, ::-1]


def found_crops(images, results, padding, flip):
    """Which crop each result is; every one has to be one."""
    found = []
    for image, result in zip(images, results, strict=True):
        matches = [
            how for how, crop in possible(image, padding, flip) if np.array_equal(crop, result)
        ]
        assert matches
        found.append(matches[0])
    return found


def bytes_of(results):
    """The bytes of images that were normalized with mean 0 and std 1."""
    return np.rint(results * 255).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from([1, 3, 4]),
    height=st.integers(1, 9),
    width=st.integers(1, 20),
    padding=st.integers(0, 3),
    flip=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_result_is_a_crop(channels, height, width, padding, flip, seed):
    images = random_images(6, channels, height, width)
    augment = datasets.Augment(padding, flip)
    (results,) = datasets.batches(images, batch_size=6, shuffle=False, seed=seed, augment=augment)
    assert results.dtype == np.float32 and results.flags.c_contiguous
    found_crops(images, bytes_of(results), padding, flip)


def test_crops_are_drawn_evenly():
    images = random_images(4000, 1, 5, 6)
    augment = datasets.Augment(2, flip=True)
    (results,) = datasets.batches(images, batch_size=4000, shuffle=False, seed=0, augment=augment)
    how = np.array(found_crops(images, bytes_of(results), 2, True))
    for column, values in ((0, 5), (1, 5), (2, 2)):
        counts = np.bincount(how[:, column], minlength=values)
        expected = 4000 / values
        # Six standard deviations of a binomial count.
        assert np.abs(counts - expected).max() < 6 * np.sqrt(expected * (1 - 1 / values))
    pairs = np.unique(how, axis=0, return_counts=True)[1]
    assert len(pairs) == 50 and pairs.min() > 40  # all combinations, 80 of each on average


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 7, 5), (3, 32, 32), (3, 2, 4100), (3, 70, 64)])
def test_normalization(shape, dtype):
    images = random_images(5, *shape)
    got = datasets.Augment(4, True, MEAN, STD).normalize(images, dtype)
    expected = normalized(images, MEAN, STD)
    assert got.dtype == dtype
    allowed = 4 * np.finfo(dtype).eps * 3  # of values up to 3
    np.testing.assert_allclose(got, expected, rtol=0, atol=allowed)


def test_what_is_beyond_the_image_is_black():
    images = np.full((50, 3, 4, 4), 255, np.uint8)
    augment = datasets.Augment(4, mean=MEAN, std=STD)
    (results,) = datasets.batches(images, batch_size=50, seed=0, augment=augment)
    black, white = (normalized(np.full((3, 1, 1), v), MEAN, STD) for v in (0, 255))
    near = np.abs(results - black) < 1e-5
    assert (near | (np.abs(results - white) < 1e-5)).all()
    assert 0.4 < near.mean() < 0.9


def test_wide_images_are_cropped_and_flipped():
    images = random_images(8, 1, 2, 9000)
    augment = datasets.Augment(1, flip=True)
    (results,) = datasets.batches(images, batch_size=8, shuffle=False, seed=3, augment=augment)
    how = found_crops(images, bytes_of(results), 1, True)
    assert {mirrored for _, _, mirrored in how} == {False, True}


def test_padding_larger_than_the_image():
    images = random_images(200, 1, 2, 3)
    augment = datasets.Augment(9, flip=True)
    (results,) = datasets.batches(images, batch_size=200, shuffle=False, seed=0, augment=augment)
    found_crops(images, bytes_of(results), 9, True)
    assert not results.any(axis=(1, 2, 3)).all()


def test_seed_decides_and_batches_and_threads_do_not():
    images, labels = random_images(100, 3, 16, 16), np.arange(100)
    augment = datasets.Augment(4, True, MEAN, STD)

    def epoch(seed, batch_size):
        parts = list(datasets.batches(images, labels, batch_size, seed=seed, augment=augment))
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    fastnn.set_num_threads(1)
    expected, order = epoch(5, 100)
    for threads, batch_size in ((1, 7), (2, 100), (3, 33), (2, 99)):
        fastnn.set_num_threads(threads)
        got, labels_got = epoch(5, batch_size)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(labels_got, order)
    assert not np.array_equal(epoch(6, 100)[0], expected)
    plain = np.concatenate(list(datasets.batches(labels, batch_size=9, seed=5)))
    np.testing.assert_array_equal(plain, order)  # augmentation does not change the order


def test_a_generator_gives_another_epoch():
    images = random_images(10, 1, 8, 8)
    generator = np.random.default_rng(0)
    augment = datasets.Augment(2, True)
    walks = [
        next(
            datasets.batches(images, batch_size=10, shuffle=False, seed=generator, augment=augment)
        )
        for _ in range(2)
    ]
    assert not np.array_equal(*walks)


def test_layouts_of_memory_do_not_matter():
    images = random_images(6, 3, 9, 8)
    augment = datasets.Augment(2, True)
    expected = next(datasets.batches(images, batch_size=6, seed=0, augment=augment))
    read_only = images.copy()
    read_only.flags.writeable = False
    strided = np.repeat(images, 2, axis=0)[::2]
    for layout in (np.asfortranarray(images), read_only, strided, images[::-1].copy()[::-1]):
        got = next(datasets.batches(layout, batch_size=6, seed=0, augment=augment))
        np.testing.assert_array_equal(got, expected)


# In training


def small_network():
    fastnn.manual_seed(1)
    return models.vgg([4, "pool", 8, "pool"], image_size=8, num_classes=3, hidden=[8])


def trainer_of(model):
    return fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))


class EveryStep(fastnn.Callback):
    """Makes an epoch return to Python after each batch."""

    every_step = True

    def on_step_end(self, *_):
        pass


def test_an_epoch_in_one_call_is_an_epoch_by_steps():
    images, labels = random_images(50, 3, 8, 8), np.arange(50) % 3
    augment = datasets.Augment(2, True, MEAN, STD)
    histories = []
    for callbacks in ((), (EveryStep(),)):
        trainer = trainer_of(small_network())
        histories.append(
            trainer.fit(
                images, labels, 3, 16, seed=0, augment=augment, callbacks=callbacks, progress=False
            )
        )
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-12)


def test_fit_trains_on_what_batches_gives():
    images, labels = random_images(50, 3, 8, 8), np.arange(50) % 3
    augment = datasets.Augment(2, True, MEAN, STD)
    trainer = trainer_of(small_network())
    trainer.fit(images, labels, 1, 16, seed=7, augment=augment, progress=False)
    other = small_network()
    step = fastnn.TrainingStep(other, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    for X, y in datasets.batches(images, labels, 16, seed=7, augment=augment):
        step(X, y)
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name], err_msg=name)


def test_validation_images_are_normalized_only():
    images, labels = random_images(40, 3, 8, 8), np.arange(40) % 3
    augment = datasets.Augment(2, True, MEAN, STD)
    trainer = trainer_of(small_network())
    history = trainer.fit(
        images, labels, 2, 10, seed=0, augment=augment, progress=False,
        validation_data=(images, labels),
    )  # fmt: skip
    measured = trainer.evaluate(augment.normalize(images), labels)
    assert history["val_loss"][-1] == measured["loss"]
    history = trainer.fit(
        images, labels, 1, 10, augment=augment, progress=False, validation_split=0.25
    )
    assert np.isfinite(history["val_loss"][-1])


def test_epochs_of_a_step_differ():
    images, labels = random_images(20, 3, 8, 8), np.arange(20) % 3
    step = fastnn.TrainingStep(small_network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.0))
    augment = datasets.Augment(2, True)
    losses = {step.epoch(images, labels, batch_size=20, augment=augment) for _ in range(3)}
    assert len(losses) == 3


def test_divergence_is_told():
    images, labels = random_images(40, 3, 8, 8), np.arange(40) % 3
    model = models.vgg([4, "pool"], False, num_classes=3, image_size=8, hidden=[8])
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=1e20))
    with pytest.raises(fastnn.TrainingDiverged) as caught:
        trainer.fit(images, labels, 5, 8, augment=datasets.Augment(2, True), progress=False)
    assert caught.value.layer
    assert all(np.isfinite(value).all() for value in model.state_dict().values())


# Errors


@pytest.mark.parametrize(
    "arguments",
    [
        {"crop_padding": -1},
        {"crop_padding": 1.5},
        {"crop_padding": 10**6},
        {"std": 0},
        {"std": (1, -1, 1)},
        {"mean": np.nan},
        {"mean": [[0.5]]},
    ],
    ids=str,
)
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        datasets.Augment(**arguments)


def test_images_are_checked():
    augment = datasets.Augment(1, mean=MEAN)
    images = random_images(5, 3, 4, 4)
    with pytest.raises(TypeError, match="float64"):
        datasets.batches(images / 255, augment=augment)
    with pytest.raises(ValueError, match=r"\(5, 48\)"):
        datasets.batches(images.reshape(5, 48), augment=augment)
    with pytest.raises(ValueError, match="3 channels, expected 1"):
        datasets.batches(images[:, :1], augment=augment)
    trainer = trainer_of(small_network())
    with pytest.raises(TypeError, match="float32"):
        trainer.fit(images.astype(np.float32), np.zeros(5, int), augment=augment)
    with pytest.raises(ValueError, match="0 <= index < 5"):
        augment.compiled(images, "float32", 0).batch(images, [0, 5])


def test_what_is_no_augment_and_no_precision():
    images = random_images(2, 1, 3, 3)
    trainer, labels = trainer_of(small_network()), np.zeros(2, int)
    for call in (
        lambda augment: datasets.batches(images, augment=augment),
        lambda augment: trainer.fit(images, labels, augment=augment),
        lambda augment: trainer.step.epoch(images, labels, augment=augment),
    ):
        with pytest.raises(TypeError, match="augment: got the class Augment, expected an object"):
            call(datasets.Augment)
        with pytest.raises(TypeError, match="augment: got True, expected an object"):
            call(True)
    with pytest.raises(TypeError, match="got dtype float16"):
        datasets.Augment().normalize(images, "float16")
