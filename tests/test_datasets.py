"""Data sets, the files they are read from, splitting and batches."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn import datasets

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
IDX_TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    array = np.asarray(array)
    code = IDX_TYPES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path, content, compress=False):
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


both_forms = pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])


# Digits


def test_digits():
    X, y = datasets.digits()
    assert X.shape == (1797, 64) and X.dtype == np.uint8 and y.dtype == np.int64
    assert X.min() == 0 and X.max() == 16 and X.flags.c_contiguous
    np.testing.assert_array_equal(
        np.bincount(y), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    )
    planes, labels = datasets.digits(flatten=False)
    assert planes.shape == (1797, 1, 8, 8)
    np.testing.assert_array_equal(planes.reshape(1797, 64), X)
    np.testing.assert_array_equal(labels, y)


def test_digits_are_a_fresh_copy():
    X, _ = datasets.digits()
    X[:] = 99
    assert datasets.digits()[0].max() == 16


def test_digits_are_those_of_scikit_learn():
    reference = pytest.importorskip("sklearn.datasets").load_digits()
    X, y = datasets.digits()
    np.testing.assert_array_equal(X, reference.data)
    np.testing.assert_array_equal(y, reference.target)


# IDX


@both_forms
@pytest.mark.parametrize("dtype", IDX_TYPES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (1, 2, 1, 2, 3), (0, 3), (2, 0)])
def test_read_idx(tmp_path, compress, dtype, shape):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    result = datasets.read_idx(write(tmp_path / "array", idx_bytes(array), compress))
    assert result.dtype == array.dtype and result.dtype.isnative
    assert result.flags.writeable and result.flags.c_contiguous
    np.testing.assert_array_equal(result, array)


def test_read_idx_larger_than_one_read(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3000, 1000), dtype=np.uint8)
    for compress in (False, True):
        path = write(tmp_path / "large", idx_bytes(array), compress)
        np.testing.assert_array_equal(datasets.read_idx(str(path)), array)


def test_read_idx_negative_and_fractional(tmp_path):
    for array in (np.array([-1, 300, -32768], "i2"), np.array([[1.5, -2.25]], "f8")):
        np.testing.assert_array_equal(
            datasets.read_idx(write(tmp_path / "x", idx_bytes(array))), array
        )


def test_read_idx_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        datasets.read_idx(tmp_path / "nothing")


@both_forms
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"expected an IDX file, .*got a file that starts with ''"),
        (b"\0\0\x08", r"expected an IDX file, .* starts with '00 00 08'"),
        (b"\0\1\x08\1\0\0\0\0", r"expected an IDX file, .* starts with '00 01 08 01'"),
        (b"\0\0\x0a\1\0\0\0\0", r"expected an IDX file, .* starts with '00 00 0a 01'"),
        (b"\0\0\x08\0\0", r"expected an IDX file, .* starts with '00 00 08 00'"),
        (b"\0\0\x08\3\0\0\0\1\0\0", r"cut short in its header: expected 12 bytes .*3 axes, got 6"),
        (b"\0\0\x08\1\0\0\0\5abc", r"cut short: expected 5 bytes .*\(5,\) of uint8, got 3"),
        (b"\0\0\x0b\1\0\0\0\2abc", r"cut short: expected 4 bytes .*\(2,\) of int16, got 3"),
        (b"\0\0\x08\1\0\0\0\2abc", r"too long: expected 2 bytes .*\(2,\) of uint8, got more"),
        (b"\0\0\x08\x50" + b"\0" * 320, r"NumPy cannot hold an array of shape \(0, 0,"),
    ],
)
def test_read_idx_of_wrong_content(tmp_path, compress, content, message):
    path = write(tmp_path / "file", content, compress)
    with pytest.raises(ValueError, match=f"file: {message}"):
        datasets.read_idx(path)


def test_read_idx_without_elements_but_large_lengths(tmp_path):
    path = write(tmp_path / "file", b"\0\0\x08\3" + bytes(4) + b"\xff" * 8)
    with pytest.raises(ValueError, match=r"file: NumPy cannot hold an array of shape \(0, 4294967"):
        datasets.read_idx(path)


@both_forms
@pytest.mark.parametrize("lengths", [(2**31,), (2**32 - 1, 2**32 - 1, 2**32 - 1)])
def test_read_idx_does_not_trust_the_header(tmp_path, compress, lengths):
    content = struct.pack(f">BBBB{len(lengths)}I", 0, 0, 0x0E, len(lengths), *lengths) + b"x" * 100
    path = write(tmp_path / "lie", content, compress)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"lie: cut short: expected \d{11,} bytes .* got 100"):
            datasets.read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_read_idx_of_corrupt_gzip(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    whole = gzip.compress(idx_bytes(array))
    damages = {
        "cut short": whole[:-600],
        "without checksum": whole[:-8],
        "wrong checksum": whole[:-8] + bytes(4) + whole[-4:],
        "wrong block": whole[:10] + b"\xff" + whole[11:],
        "only its magic number": whole[:2],
    }
    for content in damages.values():
        path = write(tmp_path / "file.gz", content)
        with pytest.raises(ValueError, match=r"file\.gz: expected a whole gzip file, got one dam"):
            datasets.read_idx(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_read_idx_of_damaged_files(data, tmp_path_factory):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = bytearray(idx_bytes(array))
    if data.draw(st.booleans()):
        content = bytearray(gzip.compress(bytes(content)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path_factory.getbasetemp() / "damaged", bytes(content))
    try:
        result = datasets.read_idx(path)
    except ValueError as error:
        assert "damaged: " in str(error)
    else:
        assert result.nbytes == array.nbytes or result.size == 0


# MNIST


def write_mnist(root, compress=False, dot="-", **changes):
    generator = np.random.default_rng(1)
    parts = {
        "train-images": generator.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        "train-labels": np.array([0, 9, 3, 3, 5, 1], np.uint8),
        "t10k-images": generator.integers(0, 256, (2, 28, 28), dtype=np.uint8),
        "t10k-labels": np.array([7, 2], np.uint8),
    }
    parts.update({name.replace("_", "-"): value for name, value in changes.items()})
    for name, array in parts.items():
        kind = "idx3" if name.endswith("images") else "idx1"
        ending = ".gz" if compress else ""
        write(root / f"{name}{dot}{kind}-ubyte{ending}", idx_bytes(array), compress)
    return parts


@both_forms
@pytest.mark.parametrize("dot", ["-", "."])
def test_mnist(tmp_path, compress, dot):
    parts = write_mnist(tmp_path, compress, dot)
    (X_train, y_train), (X_test, y_test) = datasets.mnist(tmp_path)
    assert X_train.shape == (6, 1, 28, 28) and X_test.shape == (2, 1, 28, 28)
    assert X_train.dtype == X_test.dtype == np.uint8 and y_train.dtype == y_test.dtype == np.int64
    np.testing.assert_array_equal(X_train[:, 0], parts["train-images"])
    np.testing.assert_array_equal(X_test[:, 0], parts["t10k-images"])
    np.testing.assert_array_equal(y_train, parts["train-labels"])
    np.testing.assert_array_equal(y_test, parts["t10k-labels"])
    (X_flat, _), (X_test_flat, _) = datasets.mnist(str(tmp_path), flatten=True)
    assert X_flat.shape == (6, 784) and X_test_flat.shape == (2, 784)
    np.testing.assert_array_equal(X_flat.reshape(X_train.shape), X_train)


@pytest.mark.parametrize("name", ["train-images", "train-labels", "t10k-images", "t10k-labels"])
def test_mnist_missing_file(tmp_path, name):
    write_mnist(tmp_path)
    next(tmp_path.glob(f"{name}*")).unlink()
    with pytest.raises(FileNotFoundError, match=rf"expected one of the files {name}-idx.*\.gz"):
        datasets.mnist(tmp_path)


def test_mnist_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: expected one of the files"):
        datasets.mnist(tmp_path / "absent")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": np.zeros((6, 784), np.uint8)},
            r"train-images.*\(N, 28, 28\).*\(6, 784\)",
        ),
        ({"t10k_images": np.zeros((2, 28, 27), np.uint8)}, r"t10k-images.*got shape \(2, 28, 27\)"),
        ({"train_images": np.zeros((6, 28, 28), "f4")}, r"train-images.*of uint8, got .* float32"),
        ({"train_labels": np.zeros((6, 1), np.uint8)}, r"train-labels.*\(N,\).*got shape \(6, 1\)"),
        ({"t10k_labels": np.zeros(2, "i4")}, r"t10k-labels.*of uint8, got .* int32"),
        ({"train_labels": np.zeros(5, np.uint8)}, r"got 6 images in .*train-images.* and 5 labels"),
        ({"t10k_labels": np.array([1, 10], np.uint8)}, r"t10k-labels.*0 to 9, got 10 at index 1"),
        (
            {"t10k_images": np.zeros((0, 28, 28), np.uint8), "t10k_labels": np.zeros(0, np.uint8)},
            r"t10k-images.*expected at least one image, got none",
        ),
    ],
)
def test_mnist_wrong_content(tmp_path, changes, message):
    write_mnist(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        datasets.mnist(tmp_path)


@both_forms
def test_mnist_file_cut_short(tmp_path, compress):
    write_mnist(tmp_path, compress)
    path = next(tmp_path.glob("t10k-images*"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"t10k-images.*cut short"):
        datasets.mnist(tmp_path)


def test_real_mnist():
    if not (SHARED / "mnist").is_dir():
        pytest.skip("the MNIST files are not here")
    (X_train, y_train), (X_test, y_test) = datasets.mnist(SHARED / "mnist")
    assert X_train.shape == (17435, 1, 28, 28) and X_test.shape == (10000, 1, 28, 28)
    assert len(y_train) == 17435 and len(y_test) == 10000
    np.testing.assert_array_equal(y_train[:5], [5, 0, 4, 1, 9])
    np.testing.assert_array_equal(y_test[:5], [7, 2, 1, 0, 4])
    assert set(y_train) == set(range(10)) and X_train.max() == 255


# CIFAR-10

CIFAR10_FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def write_cifar10(root, counts=(3, 1, 2, 4, 1, 2)):
    generator = np.random.default_rng(2)
    records = []
    for name, count in zip(CIFAR10_FILES, counts, strict=True):
        record = generator.integers(0, 256, (count, 3073), dtype=np.uint8)
        record[:, 0] %= 10
        write(root / name, record.tobytes())
        records.append(record)
    return records


def test_cifar10(tmp_path):
    *train, test = write_cifar10(tmp_path)
    train = np.concatenate(train)
    (X_train, y_train), (X_test, y_test) = datasets.cifar10(tmp_path)
    assert X_train.shape == (11, 3, 32, 32) and X_test.shape == (2, 3, 32, 32)
    assert X_train.dtype == X_test.dtype == np.uint8 and y_train.dtype == y_test.dtype == np.int64
    assert X_train.flags.c_contiguous and X_test.flags.c_contiguous and X_test.flags.writeable
    np.testing.assert_array_equal(y_train, train[:, 0])
    np.testing.assert_array_equal(y_test, test[:, 0])
    assert X_train[5, 2, 3, 4] == train[5, 1 + 2 * 1024 + 3 * 32 + 4]
    (X_flat, _), (X_test_flat, _) = datasets.cifar10(str(tmp_path), flatten=True)
    np.testing.assert_array_equal(X_flat, train[:, 1:])
    np.testing.assert_array_equal(X_test_flat, test[:, 1:])


def test_cifar10_class_names():
    assert len(datasets.CIFAR10_CLASSES) == 10
    assert datasets.CIFAR10_CLASSES[0] == "airplane" and datasets.CIFAR10_CLASSES[9] == "truck"


@pytest.mark.parametrize("name", CIFAR10_FILES)
def test_cifar10_missing_file(tmp_path, name):
    write_cifar10(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}: expected a file of CIFAR-10 records"):
        datasets.cifar10(tmp_path)


@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"3073 bytes, at least one, got 0 bytes"),
        (bytes(3072), r"got 3072 bytes, which is 0 records and 3072 bytes"),
        (bytes(6147), r"got 6147 bytes, which is 2 records and 1 bytes"),
        (bytes(3073) + b"\x0a" + bytes(3072), r"labels from 0 to 9, got 10 in record 1"),
    ],
)
def test_cifar10_wrong_content(tmp_path, name, content, message):
    write_cifar10(tmp_path)
    write(tmp_path / name, content)
    with pytest.raises(ValueError, match=f"{name}: expected .*{message}"):
        datasets.cifar10(tmp_path)


def test_real_cifar10():
    root = SHARED / "cifar-10-batches-bin"
    if not root.is_dir():
        pytest.skip("the CIFAR-10 files are not here")
    (X_train, y_train), (X_test, y_test) = datasets.cifar10(root)
    assert X_train.shape == (5 * 1017, 3, 32, 32) and X_test.shape == (1017, 3, 32, 32)
    assert len(y_train) == 5 * 1017 and set(y_test) == set(range(10))
    raw = (root / "data_batch_2.bin").read_bytes()[:3073]
    assert y_train[1017] == raw[0]
    assert hashlib.sha256(X_train[1017].tobytes()).digest() == hashlib.sha256(raw[1:]).digest()
    assert [datasets.CIFAR10_CLASSES[label] for label in y_train[:3]] == ["frog", "truck", "truck"]


# Batches


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 45), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1)
)
def test_batches_hold_every_sample_once(count, size, shuffle, drop_last, seed):
    X = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    y = np.arange(count)
    walk = list(datasets.batches(X, y, size, seed=seed, shuffle=shuffle, drop_last=drop_last))
    sizes = [size] * (count // size)
    if count % size and not drop_last:
        sizes.append(count % size)
    assert [len(xb) for xb, _ in walk] == [len(yb) for _, yb in walk] == sizes
    seen = np.concatenate([yb for _, yb in walk] or [[]])
    assert len(set(seen)) == len(seen)
    if not shuffle:
        np.testing.assert_array_equal(seen, np.arange(len(seen)))
    for xb, yb in walk:
        np.testing.assert_array_equal(xb, X[yb])
    again = datasets.batches(X, y, size, seed=seed, shuffle=shuffle, drop_last=drop_last)
    for (xb, yb), (other_xb, other_yb) in zip(walk, again, strict=True):
        np.testing.assert_array_equal(xb, other_xb)
        np.testing.assert_array_equal(yb, other_yb)


def test_batches_follow_default_rng():
    X = np.arange(50)
    order = np.random.default_rng(7).permutation(50)
    np.testing.assert_array_equal(
        np.concatenate([*datasets.batches(X, batch_size=8, seed=7)]), order
    )
    generator, same = np.random.default_rng(7), np.random.default_rng(7)
    walks = [np.concatenate([*datasets.batches(X, seed=generator)]) for _ in range(2)]
    np.testing.assert_array_equal(walks, [same.permutation(50) for _ in range(2)])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, ">f4", bool])
def test_batches_are_new_contiguous_arrays(shuffle, dtype):
    plain = np.arange(5 * 4 * 3).reshape(5, 4, 3).astype(dtype)
    for X in (plain, np.asfortranarray(plain), plain[::-1], plain[:, ::2]):
        X.flags.writeable = False
        for xb in datasets.batches(X, batch_size=2, shuffle=shuffle, seed=0):
            assert xb.flags.c_contiguous and xb.flags.writeable and xb.dtype == X.dtype
            assert not np.shares_memory(xb, X)


def test_batches_of_lists():
    walk = list(datasets.batches([[1], [2], [3]], [4, 5, 6], 2, shuffle=False))
    assert [(xb.tolist(), yb.tolist()) for xb, yb in walk] == [([[1], [2]], [4, 5]), ([[3]], [6])]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((np.ones((3, 2)), np.ones(4)), ValueError, r"got 3 \(shape \(3, 2\)\) and 4 \(shape \(4,"),
        ((np.ones(3), None, 0), ValueError, r"expected batch_size of at least 1, got 0"),
        ((np.ones(3), None, -5), ValueError, r"expected batch_size of at least 1, got -5"),
        ((np.ones(3), None, 2.0), TypeError, r"expected an integer batch_size, got 2\.0"),
        ((np.ones((0, 4)),), ValueError, r"expected samples that are not empty, .* \(0, 4\)"),
        ((np.ones((0, 4)), np.ones(0)), ValueError, r"not empty, got X of shape \(0, 4\)"),
        ((5.0,), ValueError, r"expected X with samples along its first axis, got a single value"),
        (([1, 2], 3), ValueError, r"expected y with samples along its first axis"),
    ],
)
def test_batches_errors_come_with_the_call(arguments, kind, message):
    with pytest.raises(kind, match=f"batches: .*{message}"):
        datasets.batches(*arguments)


# Splitting


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60),
    st.floats(0.02, 0.98),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_split_is_a_division(labels, test_size, seed, stratify):
    y = np.array(labels)
    X = np.stack([np.arange(len(y)), y], axis=1)
    tested = round(test_size * len(y))
    if tested in (0, len(y)):
        with pytest.raises(ValueError, match="expected at least one sample to train on and one"):
            datasets.train_test_split(X, y, test_size, seed, stratify)
        return
    X_train, X_test, y_train, y_test = datasets.train_test_split(X, y, test_size, seed, stratify)
    assert len(X_test) == len(y_test) == tested
    assert sorted([*X_train[:, 0], *X_test[:, 0]]) == list(range(len(y)))
    np.testing.assert_array_equal(X_train[:, 1], y_train)
    np.testing.assert_array_equal(X_test[:, 1], y_test)
    if stratify:
        for label in set(labels):
            share = (y == label).sum() * tested / len(y)
            assert abs((y_test == label).sum() - share) < 1
    again = datasets.train_test_split(X, y, test_size, seed, stratify)
    np.testing.assert_array_equal(again[0], X_train)
    np.testing.assert_array_equal(again[1], X_test)


def test_split_of_digits():
    X, y = datasets.digits()
    X_train, X_test, _, y_test = datasets.train_test_split(X, y)
    assert X_train.shape == (1438, 64) and X_test.shape == (359, 64) and X_train.dtype == np.uint8
    assert (np.abs(np.bincount(y_test) - np.bincount(y) * 359 / 1797) < 1).all()
    other = datasets.train_test_split(X, y, seed=1)[3]
    assert (other != y_test).any()
    assert (np.sort(y_test) != y_test).any()


def test_split_breaks_ties_by_chance():
    y = np.arange(40)
    X_test = [datasets.train_test_split(y, y, 0.5, seed)[1] for seed in range(2)]
    assert set(X_test[0]) != set(X_test[1]) and set(X_test[0]) != set(range(20))


def test_split_by_number_and_names():
    y = np.array(["cat", "dog"] * 10)
    y_test = datasets.train_test_split(np.arange(20), y, test_size=4)[3]
    assert sorted(y_test) == ["cat", "cat", "dog", "dog"]


def test_split_without_stratify_takes_any_targets():
    parts = datasets.train_test_split(np.arange(6), np.ones((6, 2)), 0.5, stratify=False)
    assert [part.shape for part in parts] == [(3,), (3,), (3, 2), (3, 2)]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((np.ones(3), np.ones(4, int)), ValueError, r"got 3 \(shape \(3,\)\) and 4"),
        ((np.ones((0, 2)), np.ones(0, int)), ValueError, r"not empty, got X of shape \(0, 2\)"),
        ((np.ones(4), np.ones((4, 2), int)), ValueError, r"one label per sample .* \(4, 2\)"),
        ((np.ones(4), np.ones(4)), TypeError, r"got dtype float64; pass stratify=False"),
        ((np.ones(4), np.ones(4, int), 0), ValueError, r"test_size=0 of 4 samples"),
        ((np.ones(4), np.ones(4, int), 4), ValueError, r"test_size=4 of 4 samples, .* 4 to test"),
        ((np.ones(4), np.ones(4, int), 0.01), ValueError, r"test_size=0.01 of 4 samples"),
        ((np.ones(4), np.ones(4, int), 1.5), ValueError, r"between 0 and 1, got 1\.5"),
        ((np.ones(4), np.ones(4, int), float("nan")), ValueError, r"between 0 and 1, got nan"),
        ((np.ones(4), np.ones(4, int), "half"), TypeError, r"as test_size, got 'half'"),
        ((np.ones(4), np.ones(4, int), True), TypeError, r"as test_size, got True"),
    ],
)
def test_split_errors(arguments, kind, message):
    with pytest.raises(kind, match=f"train_test_split: .*{message}"):
        datasets.train_test_split(*arguments)
