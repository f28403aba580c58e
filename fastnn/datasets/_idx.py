"""The IDX file format and the MNIST data set, which is stored in it."""

from __future__ import annotations

import math
import os
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gzip import GzipFile
    from pathlib import Path

    from numpy.typing import NDArray

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_READ_BYTES = 2**20


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array in an IDX file, plain or compressed with gzip.

    The file starts with two zero bytes, a byte for the element type (08 uint8, 09 int8, 0B int16,
    0C int32, 0D float32, 0E float64), a byte for the number of axes, and the length of every axis
    as a big-endian 32-bit integer. The elements follow, big-endian, the last axis running fastest.
    Whether the file is compressed is told from its content, not from its name.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray
        A new array of the file's shape and element type, in native byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an IDX file, is shorter or longer than its header says, or is a damaged
        gzip file. Memory is taken only for bytes that are there, whatever the header claims.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastnn import datasets
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "small.idx")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([0, 0, 0x08, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 20, 30]))
    ...     datasets.read_idx(path)
    array([[10, 20, 30]], dtype=uint8)
    """
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _parse(file, path)
        import gzip
        import zlib

        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _parse(stream, path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path}: expected a whole gzip file, got one damaged or cut short ({error})"
            ) from error


def _parse(stream: IO[bytes] | GzipFile, path: str | os.PathLike[str]) -> NDArray[Any]:
    magic = bytes(_read(stream, 4))
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        raise ValueError(
            f"{path}: expected an IDX file, which starts with 00 00, an element type (08, 09, 0b, "
            f"0c, 0d or 0e) and a number of axes, got a file that starts with "
            f"'{magic.hex(' ')}'"
        )
    lengths = _read(stream, 4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise ValueError(
            f"{path}: cut short in its header: expected {4 * magic[3]} bytes for the lengths of "
            f"{magic[3]} axes, got {len(lengths)}"
        )
    shape = tuple(np.frombuffer(lengths, dtype=">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    # Asking for one byte more finds out about extra bytes, and checks the gzip checksum.
    content = _read(stream, expected + 1)
    if len(content) != expected:
        problem, got = ("cut short", str(len(content)))
        if len(content) > expected:
            problem, got = "too long", "more"
        raise ValueError(
            f"{path}: {problem}: expected {expected} bytes after the header, which promises shape "
            f"{shape} of {dtype.newbyteorder('=')}, got {got}"
        )
    try:
        array = np.frombuffer(content, dtype=dtype).reshape(shape)
    except ValueError as error:
        raise ValueError(
            f"{path}: NumPy cannot hold an array of shape {shape} ({error})"
        ) from error
    return array.astype(dtype.newbyteorder("="), copy=not dtype.isnative)


def _read(stream: IO[bytes] | GzipFile, size: int) -> bytearray:
    # A single large read would take the memory before knowing whether the bytes are there.
    content = bytearray()
    while len(content) < size:
        part = stream.read(min(size - len(content), _READ_BYTES))
        if not part:
            break
        content += part
    return content


def mnist(
    root: str | os.PathLike[str], flatten: bool = False
) -> tuple[
    tuple[NDArray[np.uint8], NDArray[np.int64]], tuple[NDArray[np.uint8], NDArray[np.int64]]
]:
    """Read the MNIST handwritten digits, or a data set in the same files such as Fashion-MNIST.

    The folder holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``. A name may also end in ``.gz``, and
    may have a dot before ``idx``. If there are several, the plain file is read. The files may
    hold any number of images.

    Parameters
    ----------
    root : path
        The folder.
    flatten : bool, default=False
        Whether an image is a row of 784 numbers or an array of shape (1, 28, 28).

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        Images of uint8, shape (N, 1, 28, 28) or (N, 784), and labels of int64, shape (N,).

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not a whole IDX file (see `read_idx`), does not hold images of 28 by 28 bytes
        or labels from 0 to 9, holds nothing, or if there are not as many images as labels.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastnn import datasets
    >>> images = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(784)
    >>> labels = bytes([0, 0, 8, 1, 0, 0, 0, 1, 7])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         _ = pathlib.Path(folder, f"{part}-images-idx3-ubyte").write_bytes(images)
    ...         _ = pathlib.Path(folder, f"{part}-labels-idx1-ubyte").write_bytes(labels)
    ...     (X_train, y_train), (X_test, y_test) = datasets.mnist(folder)
    >>> X_train.shape, y_train
    ((1, 1, 28, 28), array([7]))
    """
    from pathlib import Path

    root = Path(root)
    return _read_part(root, "train", flatten), _read_part(root, "t10k", flatten)


def _read_part(root: Path, part: str, flatten: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images_path = _find(root, f"{part}-images", "idx3-ubyte")
    labels_path = _find(root, f"{part}-labels", "idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"{images_path}: expected images of shape (N, 28, 28) of uint8, got shape "
            f"{images.shape} of {images.dtype}"
        )
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(
            f"{labels_path}: expected labels of shape (N,) of uint8, got shape {labels.shape} "
            f"of {labels.dtype}"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"expected as many images as labels, got {len(images)} images in {images_path} and "
            f"{len(labels)} labels in {labels_path}"
        )
    if len(images) == 0:
        raise ValueError(f"{images_path}: expected at least one image, got none")
    if labels.max() > 9:
        first = int(np.argmax(labels > 9))
        raise ValueError(
            f"{labels_path}: expected labels from 0 to 9, got {labels[first]} at index {first}"
        )
    shape = (-1, 784) if flatten else (-1, 1, 28, 28)
    return images.reshape(shape), labels.astype(np.int64)


def _find(root: Path, start: str, end: str) -> Path:
    names = [f"{start}{dot}{end}{gz}" for gz in ("", ".gz") for dot in ("-", ".")]
    for name in names:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"{root}: expected one of the files {', '.join(names)}, got none")
