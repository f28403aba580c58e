"""What a look at the inputs finds."""

import numpy as np
import pytest

from fastnn import datasets, diagnostics, preprocessing


@pytest.fixture
def X(rng):
    return rng.normal(size=(400, 12))


def advice(*arguments, **options):
    check = diagnostics.preprocessing_check(*arguments, **options)
    assert not check
    return check.advice


def test_standardized_inputs_pass(X):
    check = diagnostics.preprocessing_check(preprocessing.Standardize().fit_transform(X))
    assert check.passed and check.advice == ""
    assert check.plot().get_xlabel()


def test_raw_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), np.uint8)
    assert advice(pixels).startswith("image data still in 0..255")
    centred = preprocessing.ChannelMean(scale=True).fit_transform(pixels)
    assert diagnostics.preprocessing_check(centred).passed


def test_not_centred(X):
    assert "not centred" in advice(X + 1)
    assert "all inputs are positive" in advice(np.abs(X))


def test_scales_that_differ(X):
    X[:, 3] *= 1000
    assert "scales of features differ by a factor of" in advice(X)
    assert "standard deviation is" in advice(X * 1e-5)


def test_values_that_are_not_finite(X):
    X[7, 5] = np.nan
    X[9, 2] = np.inf
    check = diagnostics.preprocessing_check(X)
    assert not check and check.data["bad"] == 2
    assert "feature 2" in check.advice


def test_constant_and_duplicated_features_are_noted(X):
    X = preprocessing.ZeroCenter().fit_transform(np.c_[X, X[:, :2], np.ones((400, 3))])
    check = diagnostics.preprocessing_check(X)
    assert check.passed
    assert "3 features are constant" in check.advice and "2 features are dupl" in check.advice


def test_a_mean_that_was_learned_from_the_test_data_too(X):
    train, test = X[:300], X[300:]
    right, leaked = preprocessing.Standardize().fit(train), preprocessing.Standardize().fit(X)
    assert diagnostics.preprocessing_check(right.transform(train), right.transform(test), right)
    assert "leaked" in advice(leaked.transform(train), leaked.transform(test))
    assert "not the training set's" in advice(leaked.transform(train), preprocessor=leaked)


def test_real_images_pass():
    X, _ = datasets.digits()
    for preprocess in (preprocessing.Standardize(), preprocessing.ZeroCenter()):
        assert diagnostics.preprocessing_check(preprocess.fit_transform(X)).passed


def test_an_empty_data_set():
    with pytest.raises(ValueError, match="empty data set"):
        diagnostics.preprocessing_check(np.zeros((0, 3)))


def test_what_is_no_number_is_refused():
    with pytest.raises(TypeError, match="got .*U1.*, expected an array of real numbers"):
        diagnostics.preprocessing_check(np.array([["a"], ["b"]]))
