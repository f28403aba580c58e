"""Preprocessing against plain NumPy in float64."""

from __future__ import annotations

import copy
import json
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastnn import preprocessing
from fastnn.preprocessing import ChannelMean, MeanImage, NotFittedError, Standardize, ZeroCenter

MAKERS = {
    "ZeroCenter": ZeroCenter,
    "Standardize": Standardize,
    "MeanImage": MeanImage,
    "ChannelMean": ChannelMean,
    "ChannelMean scaled": lambda **options: ChannelMean(scale=True, **options),
}
every_class = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def images(dtype=np.uint8, shape=(7, 3, 5, 4)):
    values = np.random.default_rng(3).integers(0, 256, shape)
    return values.astype(dtype)


def expected_statistics(preprocessor, X):
    X = np.asarray(X, dtype=np.float64)
    axes = (0, 2, 3) if isinstance(preprocessor, ChannelMean) else (0,)
    mean, scale = X.mean(axis=axes, keepdims=True), np.ones(())
    if isinstance(preprocessor, Standardize) or getattr(preprocessor, "scale", False):
        scale = X.std(axis=axes, keepdims=True)
        scale = np.where(np.ptp(X, axis=axes, keepdims=True) == 0, 1.0, scale)
    return mean, scale


def unit_roundoff(dtype):
    return 4 * np.finfo(dtype).eps


@every_class
@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (np.uint8, np.float32),
        (np.int64, np.float32),
        (np.bool_, np.float32),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (">f4", np.float32),
        (">f8", np.float64),
        (">i2", np.float32),
    ],
)
def test_values_and_types(make, dtype, result):
    X = images(dtype)
    preprocessor = make()
    transformed = preprocessor.fit_transform(X)
    mean, scale = expected_statistics(preprocessor, X)
    assert transformed.dtype == result and transformed.dtype.isnative
    assert transformed.flags.c_contiguous and transformed.shape == X.shape
    assert preprocessor.mean_.dtype == np.float64
    assert preprocessor.n_samples_ == 7 and preprocessor.feature_shape_ == (3, 5, 4)
    np.testing.assert_allclose(preprocessor.mean_, mean.squeeze(), rtol=1e-14)
    expected = (X.astype(np.float64) - mean) / scale
    tolerance = unit_roundoff(result)
    np.testing.assert_allclose(transformed, expected, rtol=tolerance, atol=1e-12)
    restored = preprocessor.inverse_transform(transformed)
    assert restored.dtype == result
    np.testing.assert_allclose(restored, X.astype(np.float64), rtol=tolerance, atol=1e2 * tolerance)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (ZeroCenter, (3, 5, 4)),
        (Standardize, (3, 5, 4)),
        (MeanImage, (3, 5, 4)),
        (ChannelMean, (3,)),
    ],
)
def test_shape_of_mean(make, shape):
    assert make().fit(images()).mean_.shape == shape


def test_scale_attribute():
    assert ZeroCenter().fit(images()).scale_ is None
    assert ChannelMean().fit(images()).scale_ is None
    assert ChannelMean(scale=True).fit(images()).scale_.shape == (3,)
    assert Standardize().fit(images()).scale_.shape == (3, 5, 4)


@every_class
def test_mean_zero_and_deviation_one(make):
    preprocessor = make()
    X = preprocessor.fit_transform(images(np.float64))
    axes = (0, 2, 3) if isinstance(preprocessor, ChannelMean) else 0
    np.testing.assert_allclose(X.mean(axis=axes), 0, atol=1e-12)
    if preprocessor.scale_ is not None:
        np.testing.assert_allclose(X.std(axis=axes), 1, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=5),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_any_shape(X):
    standardize = Standardize().fit(X)
    assert standardize.mean_.shape == standardize.scale_.shape == X.shape[1:]
    np.testing.assert_allclose(standardize.mean_, X.mean(axis=0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(ZeroCenter().fit_transform(X), X - X.mean(axis=0), atol=1e-9)
    constant = np.ptp(X, axis=0) == 0
    assert (standardize.scale_[constant] == 1).all()
    assert (standardize.transform(X)[:, constant] == 0).all()


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, -3e-7, 255])
def test_constant_feature_gives_exact_zeros(value):
    # The sum of many equal numbers is rounded, so a careless deviation is tiny instead of zero.
    X = np.full((1003, 2), value)
    X[:, 1] = np.arange(1003)
    standardize = Standardize().fit(X)
    assert standardize.mean_[0] == value and standardize.scale_[0] == 1
    assert (standardize.transform(X)[:, 0] == 0).all()
    np.testing.assert_allclose(standardize.scale_[1], X[:, 1].std(), rtol=1e-14)


def test_constant_channel():
    X = images()
    X[:, 1] = 77
    channel_mean = ChannelMean(scale=True).fit(X)
    assert channel_mean.mean_[1] == 77 and channel_mean.scale_[1] == 1


def test_small_deviation_beside_large_mean():
    X = (1e9 + np.random.default_rng(0).standard_normal((2000, 3))).astype(np.float64)
    np.testing.assert_allclose(Standardize().fit(X).scale_, X.std(axis=0), rtol=1e-10)


@every_class
def test_one_sample(make):
    preprocessor = make()
    X = preprocessor.fit_transform(images(shape=(1, 3, 5, 4)))
    assert np.isfinite(X).all()
    if not isinstance(preprocessor, ChannelMean):
        assert (X == 0).all()


@every_class
def test_data_of_many_chunks(make, monkeypatch):
    X = images(np.float32, (53, 3, 5, 4))
    whole = make().fit(X)
    monkeypatch.setattr(preprocessing._samples, "CHUNK_ELEMENTS", 250)
    parts = make().fit(X)
    np.testing.assert_allclose(parts.mean_, whole.mean_, rtol=1e-14)
    if whole.scale_ is not None:
        np.testing.assert_allclose(parts.scale_, whole.scale_, rtol=1e-13)
    np.testing.assert_allclose(parts.transform(X), whole.transform(X), rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(preprocessing._samples, "CHUNK_ELEMENTS", 1)
    np.testing.assert_array_equal(parts.transform(X), make().fit(X).transform(X))


@every_class
def test_large_data_are_not_copied_whole(make):
    X = images(shape=(4000, 3, 20, 20))
    tracemalloc.start()
    try:
        make().fit(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * X.nbytes, f"{peak} bytes for data of {X.nbytes} bytes"


@every_class
@pytest.mark.parametrize(
    "arrange",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: np.repeat(X, 2, axis=3)[..., ::2],
        lambda X: X[::-1].copy()[::-1],
        lambda X: np.moveaxis(np.moveaxis(X, 1, -1).copy(), -1, 1),
        lambda X: X.astype(X.dtype.newbyteorder()),
    ],
    ids=["Fortran", "strided rows", "strided columns", "reversed", "channels last", "byte-swapped"],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_memory_layouts(make, arrange, dtype):
    X = images(dtype)
    arranged = arrange(X)
    arranged.flags.writeable = False
    before = arranged.tobytes("A")
    plain, other = make().fit(X), make().fit(arranged)
    np.testing.assert_array_equal(other.mean_, plain.mean_)
    np.testing.assert_array_equal(other.transform(arranged), plain.transform(X))
    np.testing.assert_array_equal(other.inverse_transform(arranged), plain.inverse_transform(X))
    assert other.transform(arranged).flags.c_contiguous
    assert arranged.tobytes("A") == before


@every_class
def test_result_is_not_the_input(make):
    X = images(np.float32)
    before = X.copy()
    preprocessor = make().fit(X)
    for result in (preprocessor.transform(X), preprocessor.inverse_transform(X)):
        assert not np.shares_memory(result, X)
        result[:] = -1
    np.testing.assert_array_equal(X, before)


@every_class
@pytest.mark.parametrize("dtype", [np.float16, np.float32, "float64", ">f4"])
def test_chosen_dtype(make, dtype):
    preprocessor = make(dtype=dtype)
    native = np.dtype(dtype).newbyteorder("=")
    assert preprocessor.fit_transform(images()).dtype == native
    assert preprocessor.inverse_transform(images(np.float64)).dtype == native


@pytest.mark.parametrize("dtype", [np.int32, complex, object, "U3"])
def test_chosen_dtype_must_be_floating(dtype):
    with pytest.raises(TypeError, match=r"dtype: expected a real floating-point type, got"):
        Standardize(dtype=dtype)


def test_lists_work():
    np.testing.assert_array_equal(ZeroCenter().fit_transform([[1, 2], [3, 6]]), [[-1, -2], [1, 2]])


def test_channel_mean_of_images_of_another_size():
    channel_mean = ChannelMean().fit(images())
    other = images(shape=(2, 3, 9, 8))
    expected = other - channel_mean.mean_[:, None, None]
    np.testing.assert_allclose(channel_mean.transform(other), expected, rtol=1e-6, atol=1e-5)


def test_no_samples_give_none():
    result = Standardize().fit(np.eye(3)).transform(np.empty((0, 3), dtype=np.float32))
    assert result.shape == (0, 3) and result.dtype == np.float32


def test_nan_passes_through_transform():
    result = ZeroCenter().fit(np.eye(2)).transform([[np.nan, 1.0]])
    np.testing.assert_array_equal(result, [[np.nan, 0.5]])


# Errors


@every_class
@pytest.mark.parametrize("method", ["transform", "inverse_transform", "state_dict", "save"])
def test_not_fitted(make, method, tmp_path):
    argument = {"state_dict": (), "save": (tmp_path / "x.npz",)}.get(method, (images(),))
    preprocessor = make()
    name = type(preprocessor).__name__
    with pytest.raises(NotFittedError, match=rf"{name}\.{method}: nothing learned yet; call fit"):
        getattr(preprocessor, method)(*argument)
    assert not (tmp_path / "x.npz").exists()
    assert issubclass(NotFittedError, ValueError) and issubclass(NotFittedError, AttributeError)


@every_class
@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 0, 2, 2), (2, 3, 0, 2)])
def test_empty_data(make, shape):
    with pytest.raises(ValueError, match=r"fit: expected at least one sample .*\(\d, \d, \d, \d\)"):
        make().fit(np.empty(shape))


def test_wrong_shape():
    standardize = Standardize().fit(np.eye(4))
    for method in (standardize.transform, standardize.inverse_transform):
        with pytest.raises(ValueError, match=r"of shape \(4,\), got X of shape \(2, 5\)"):
            method(np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"of shape \(4,\), got X of shape \(4,\)"):
        standardize.transform(np.ones(4))
    with pytest.raises(ValueError, match=r"of shape \(4,\), got X of shape \(2, 4, 1\)"):
        standardize.transform(np.ones((2, 4, 1)))
    with pytest.raises(ValueError, match=r"expected X of shape \(N, \.\.\.\), got shape \(\)"):
        standardize.fit(3.0)
    with pytest.raises(ValueError, match=r"\(3, 5, 4\), got X of shape \(2, 1, 5, 4\)"):
        ChannelMean().fit(images()).transform(images(shape=(2, 1, 5, 4)))


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 5), (1, 4, 3, 5, 5)])
def test_wrong_rank_for_channel_mean(shape):
    with pytest.raises(ValueError, match=r"fit: expected X of shape \(N, C, H, W\), got shape \("):
        ChannelMean().fit(np.ones(shape))
    with pytest.raises(ValueError, match=r"transform: expected X of shape \(N, C, H, W\)"):
        ChannelMean().fit(images()).transform(np.ones(shape))


@every_class
@pytest.mark.parametrize("chunk", [1, 130, 2**18])
def test_values_that_are_not_finite(make, chunk, monkeypatch):
    monkeypatch.setattr(preprocessing._samples, "CHUNK_ELEMENTS", chunk)
    X = images(np.float32)
    X[4, 1, 2, 3], X[5, 0, 0, 0], X[6, 2, 4, 3] = -np.inf, np.nan, np.inf
    with pytest.raises(
        ValueError, match=r"got 3 NaN or infinite of 420; the first is -inf at index \(4, 1, 2, 3\)"
    ):
        make().fit(X)


@pytest.mark.parametrize("make", [Standardize, ZeroCenter])
def test_overflow(make):
    X = np.array([[1.7e308], [-1.7e308]])
    with pytest.raises(ValueError, match=r"fit: X holds values so large .* overflow float64"):
        make().fit(X)


@every_class
@pytest.mark.parametrize("dtype", [complex, object, "U4", "M8[s]"])
def test_not_real_numbers(make, dtype):
    wrong = np.zeros((2, 3, 5, 4), dtype=dtype)
    with pytest.raises(TypeError, match=r"fit: expected integers, booleans or real floats, got dt"):
        make().fit(wrong)
    with pytest.raises(TypeError, match=r"transform: expected integers.* got dtype"):
        make().fit(images()).transform(wrong)


def test_failed_fit_keeps_what_was_learned():
    center = ZeroCenter().fit([[1.0], [3.0]])
    with pytest.raises(ValueError, match="NaN"):
        center.fit([[np.nan, 1.0]])
    assert center.mean_ == [2] and center.feature_shape_ == (1,)
    center.fit([[5.0, 6.0]])
    np.testing.assert_array_equal(center.mean_, [5, 6])


# Saving


def assert_same(one, other):
    assert type(one) is type(other) and repr(one) == repr(other)
    np.testing.assert_array_equal(one.mean_, other.mean_)
    assert (one.scale_ is None) == (other.scale_ is None)
    assert (one.n_samples_, one.feature_shape_) == (other.n_samples_, other.feature_shape_)
    one_result, other_result = one.transform(images()), other.transform(images())
    assert one_result.dtype == other_result.dtype
    np.testing.assert_array_equal(one_result, other_result)


@every_class
@pytest.mark.parametrize("dtype", [None, np.float64])
@pytest.mark.parametrize("name", ["learned.npz", "no ending"])
def test_save_and_load(make, dtype, name, tmp_path):
    preprocessor = make(dtype=dtype).fit(images())
    preprocessor.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert_same(preprocessing.load(tmp_path / name), preprocessor)
    assert_same(type(preprocessor).load(str(tmp_path / name)), preprocessor)
    assert_same(preprocessing.Preprocessor.load(tmp_path / name), preprocessor)


@every_class
def test_pickle_and_copy(make):
    preprocessor = make(dtype="f8").fit(images())
    assert_same(pickle.loads(pickle.dumps(preprocessor)), preprocessor)
    assert_same(copy.deepcopy(preprocessor), preprocessor)
    assert not hasattr(pickle.loads(pickle.dumps(make())), "mean_")


@every_class
def test_state_dict(make):
    preprocessor = make().fit(images())
    state = preprocessor.state_dict()
    other = make().load_state_dict(state)
    assert_same(other, preprocessor)
    for value in state.values():
        assert isinstance(value, np.ndarray)
        value[...] = 1
    assert_same(other, preprocessor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_": None}, r"expected the names .*'scale_'.*got \['feature_shape_', 'mean_'"),
        ({"more": 1}, r"got .*'more'"),
        ({"mean_": np.zeros(2)}, r"expected mean_ to fit samples of shape \(3,\), got .* \(2,\)"),
        ({"scale_": np.ones((3, 1))}, r"expected scale_ to fit samples of shape \(3,\)"),
        ({"scale_": np.array([1.0, 0.0, 1.0])}, r"expected finite mean_ and positive scale_"),
        ({"mean_": np.array([1.0, np.nan, 1.0])}, r"expected finite mean_ and positive scale_"),
        ({"n_samples_": 0}, r"expected n_samples_ of at least 1, got 0"),
    ],
)
def test_state_that_is_not_valid(change, message):
    standardize = Standardize().fit(np.eye(3))
    state = {**standardize.state_dict(), **change}
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        standardize.load_state_dict(state)
    np.testing.assert_allclose(standardize.mean_, np.full(3, 1 / 3))


def test_state_of_other_settings():
    state = ChannelMean(scale=True).fit(images()).state_dict()
    with pytest.raises(ValueError, match=r"ChannelMean\.load_state_dict: expected the names"):
        ChannelMean().load_state_dict(state)
    state = ZeroCenter().fit(np.eye(3)).state_dict()
    with pytest.raises(ValueError, match=r"expected mean_ to fit samples of shape \(3,\)"):
        ChannelMean().load_state_dict(state)


def test_pickles_made_when_this_was_one_file():
    for cls in (ZeroCenter, Standardize, MeanImage, ChannelMean):
        assert pickle.loads(f"cfastnn.preprocessing\n{cls.__name__}\n.".encode()) is cls


def test_save_of_what_could_not_be_loaded(tmp_path):
    path = tmp_path / "base.npz"
    with pytest.raises(TypeError, match=r"Preprocessor.save: load knows no such class"):
        preprocessing.Preprocessor().fit(np.eye(3)).save(path)
    assert not path.exists()

    class Halved(Standardize):
        pass

    Halved().fit(np.eye(3)).save(path)
    assert type(preprocessing.load(path)) is Halved
    same_name = type("ZeroCenter", (Standardize,), {})
    with pytest.raises(TypeError, match=r"another has its name"):
        same_name().fit(np.eye(3)).save(path)
    assert type(preprocessing.load(path)) is Halved


def test_load_of_another_class(tmp_path):
    path = tmp_path / "center.npz"
    ZeroCenter().fit(np.eye(3)).save(path)
    with pytest.raises(ValueError, match=r"center\.npz: expected Standardize, got ZeroCenter"):
        Standardize.load(path)


def test_load_of_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        preprocessing.load(tmp_path / "nothing.npz")


def test_load_of_other_files(tmp_path):
    path = tmp_path / "file.npz"
    np.savez(path, header=np.array(json.dumps({"class": "Unknown", "settings": {}})))
    unknown = path.read_bytes()
    np.savez(path, mean_=np.zeros(3))
    without_header = path.read_bytes()
    np.savez(path, header=np.array([{}], dtype=object))
    with_objects = path.read_bytes()
    for content in (b"", b"not a file of this kind", unknown, without_header, with_objects):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"file\.npz: expected a file written by save"):
            preprocessing.load(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_load_of_damaged_files(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    standardize = Standardize().fit(np.eye(3))
    standardize.save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        loaded = preprocessing.load(path)
    except ValueError as error:
        assert "damaged.npz: expected a file written by save" in str(error)
    else:
        # The damage hit a field of the archive that carries no content.
        np.testing.assert_array_equal(loaded.mean_, standardize.mean_)
        np.testing.assert_array_equal(loaded.scale_, standardize.scale_)


def test_repr():
    assert repr(Standardize()) == "Standardize(dtype=None)"
    assert repr(ChannelMean(scale=True, dtype="f8")) == "ChannelMean(scale=True, dtype='float64')"
