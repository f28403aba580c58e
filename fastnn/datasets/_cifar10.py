"""The CIFAR-10 data set in its binary version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CIFAR10_CLASSES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""The names of the ten classes; label ``k`` of `cifar10` means ``CIFAR10_CLASSES[k]``."""

_RECORD_BYTES = 1 + 3 * 32 * 32


def cifar10(
    root: str | os.PathLike[str], flatten: bool = False
) -> tuple[
    tuple[NDArray[np.uint8], NDArray[np.int64]], tuple[NDArray[np.uint8], NDArray[np.int64]]
]:
    """Read the CIFAR-10 colour images from the files of its binary version.

    The folder holds ``data_batch_1.bin`` to ``data_batch_5.bin`` for training, which are joined in
    this order, and ``test_batch.bin``. A file is a sequence of records of 3073 bytes: the label,
    then 32 by 32 pixels of red, of green and of blue. The files may hold any number of records.

    Parameters
    ----------
    root : path
        The folder.
    flatten : bool, default=False
        Whether an image is a row of 3072 numbers or an array of shape (3, 32, 32).

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        Images of uint8, shape (N, 3, 32, 32) or (N, 3072), and labels of int64, shape (N,).

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is empty, is not a whole number of records, or has a label above 9.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastnn import datasets
    >>> record = bytes([3]) + bytes(3072)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]:
    ...         _ = pathlib.Path(folder, name).write_bytes(record)
    ...     (X_train, y_train), (X_test, y_test) = datasets.cifar10(folder)
    >>> X_train.shape, y_train
    ((5, 3, 32, 32), array([3, 3, 3, 3, 3]))
    >>> datasets.CIFAR10_CLASSES[y_train[0]]
    'cat'
    """
    from pathlib import Path

    root = Path(root)
    train = [root / f"data_batch_{number}.bin" for number in range(1, 6)]
    return _read_files(train, flatten), _read_files([root / "test_batch.bin"], flatten)


def _read_files(paths: list[Path], flatten: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    records = [_read_records(path) for path in paths]
    labels = np.concatenate([part[:, 0] for part in records]).astype(np.int64)
    images = np.concatenate([part[:, 1:] for part in records])
    return images if flatten else images.reshape(-1, 3, 32, 32), labels


def _read_records(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of CIFAR-10 records, got no file")
    size = path.stat().st_size
    if size == 0 or size % _RECORD_BYTES:
        raise ValueError(
            f"{path}: expected a whole number of records of {_RECORD_BYTES} bytes, at least one, "
            f"got {size} bytes, which is {size // _RECORD_BYTES} records and "
            f"{size % _RECORD_BYTES} bytes"
        )
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, _RECORD_BYTES)
    wrong = np.flatnonzero(records[:, 0] > 9)
    if wrong.size:
        raise ValueError(
            f"{path}: expected labels from 0 to 9, got {records[wrong[0], 0]} in record {wrong[0]}"
        )
    return records
