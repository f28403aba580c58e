"""What all preprocessing shares: a mean, perhaps a scale, learned once and applied to any data."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from fastnn._checks import to_array, to_reals
from fastnn.preprocessing._samples import check_content, chunks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


class NotFittedError(ValueError, AttributeError):
    """Raised when learned statistics are needed before ``fit`` was called."""


class Preprocessor:
    """Base class of all preprocessing: computes ``(x - mean_) / scale_``. Use a subclass.

    Parameters
    ----------
    dtype : dtype, optional
        Floating-point type of the results. By default integers, booleans and float16 give
        float32, and other floats keep their type.

    Attributes
    ----------
    mean_ : ndarray of float64
        The learned mean.
    scale_ : ndarray of float64 or None
        The learned divisor, in the shape of ``mean_``; None if there is no division.
    n_samples_ : int
        Number of samples ``fit`` has seen.
    feature_shape_ : tuple of int
        Shape of one sample ``fit`` has seen.

    Raises
    ------
    TypeError
        If `dtype` is not a real floating-point type.
    """

    # The mean is taken over these axes and keeps the others.
    _averaged_axes: ClassVar[tuple[int, ...]] = (0,)
    _axis_names: ClassVar[tuple[str, ...]] = ("N", "...")
    _divides = False

    def __init__(self, *, dtype: DTypeLike | None = None) -> None:
        if dtype is not None:
            dtype = np.dtype(dtype).newbyteorder("=")
            if dtype.kind != "f":
                raise TypeError(f"dtype: expected a real floating-point type, got {dtype}")
        self.dtype = dtype

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        return f"{type(self).__name__}({settings})"

    def fit(self, X: ArrayLike) -> Self:
        """Learn the statistics of the training data.

        Sums are accumulated in float64, a few samples at a time, so the data are never copied
        whole. If an error is raised, what was learned before stays.

        Parameters
        ----------
        X : array_like, shape (N, ...)
            Training samples: integers, booleans or real floats.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If `X` does not hold real numbers.
        ValueError
            If `X` is empty, has the wrong number of axes, holds NaN or infinity, or holds values
            so large that a statistic overflows float64.
        """
        X = self._samples(X, "fit")
        check_content(X, self._where("fit"))
        axes = self._averaged_axes
        count = math.prod(X.shape[axis] for axis in axes)
        # Summing distances from a value of the data keeps a constant feature exactly constant.
        origin = X[tuple(slice(1 if axis in axes else None) for axis in range(X.ndim))]
        origin = origin.astype(np.float64)
        scale = None
        with np.errstate(over="ignore", invalid="ignore"):
            total = sum((part - origin).sum(axis=axes) for _, part in chunks(X))
            mean = np.asarray(origin.squeeze(axes) + total / count)
            if self._divides:
                center = np.expand_dims(mean, axes)
                total = sum(np.square(part - center).sum(axis=axes) for _, part in chunks(X))
                deviation = np.sqrt(total / count)
                scale = np.asarray(np.where(deviation == 0, 1.0, deviation))
        if not all(np.isfinite(learned).all() for learned in (mean, scale) if learned is not None):
            raise ValueError(
                f"{self._where('fit')}: X holds values so large that their statistics "
                f"overflow float64 (dtype {X.dtype})"
            )
        self.mean_, self.scale_ = mean, scale
        self.n_samples_, self.feature_shape_ = X.shape[0], X.shape[1:]
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return ``(X - mean_) / scale_`` as a new C-contiguous array.

        The result is computed in float64 and rounded once. NaN and infinity pass through, and no
        samples give an empty result.

        Parameters
        ----------
        X : array_like, shape (N, ...)
            Samples shaped like those given to ``fit``.

        Returns
        -------
        ndarray, shape of `X`

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        TypeError
            If `X` does not hold real numbers.
        ValueError
            If the samples are not shaped like those given to ``fit``.
        """
        return self._apply(X, "transform")

    def fit_transform(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return ``fit(X).transform(X)``; errors are theirs.

        Parameters
        ----------
        X : array_like, shape (N, ...)
            Training samples.

        Returns
        -------
        ndarray, shape of `X`
        """
        X = to_array(X)
        return self.fit(X).transform(X)

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return ``X * scale_ + mean_``, which undoes ``transform``; errors are those of it.

        Parameters
        ----------
        X : array_like, shape (N, ...)

        Returns
        -------
        ndarray, shape of `X`
        """
        return self._apply(X, "inverse_transform")

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return what was learned: a copy of every fitted attribute that is not None.

        Returns
        -------
        dict of str to ndarray

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        """
        self._check_fitted("state_dict")
        learned = {
            "mean_": self.mean_,
            "scale_": self.scale_,
            "n_samples_": np.int64(self.n_samples_),
            "feature_shape_": np.asarray(self.feature_shape_, dtype=np.int64),
        }
        return {name: np.array(value) for name, value in learned.items() if value is not None}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> Self:
        """Take over a copy of what another object of the same class and settings learned.

        Parameters
        ----------
        state : mapping of str to array_like
            What ``state_dict`` returned.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If names are missing or unexpected, or if values and shapes are not valid.
        """
        where = self._where("load_state_dict")
        parts_expected = ["mean_", "scale_"] if self._divides else ["mean_"]
        expected = sorted([*parts_expected, "n_samples_", "feature_shape_"])
        if sorted(state) != expected:
            raise ValueError(f"{where}: expected the names {expected}, got {sorted(state)}")
        parts = {
            name: np.array(to_reals(name, state[name]), dtype=np.float64) for name in parts_expected
        }
        shape = tuple(np.asarray(state["feature_shape_"], dtype=np.int64).tolist())
        n_samples = int(np.asarray(state["n_samples_"]))
        if n_samples < 1:
            raise ValueError(f"{where}: expected n_samples_ of at least 1, got {n_samples}")
        for name, value in parts.items():
            if not self._has_rank(1 + len(shape)) or value.shape != self._kept((1, *shape)):
                raise ValueError(
                    f"{where}: expected {name} to fit samples of shape {shape}, "
                    f"got {name} of shape {value.shape}"
                )
            if not np.isfinite(value).all() or (name == "scale_" and value.min() <= 0):
                raise ValueError(f"{where}: expected finite mean_ and positive scale_, got {value}")
        self.mean_, self.scale_ = parts["mean_"], parts.get("scale_")
        self.n_samples_, self.feature_shape_ = n_samples, shape
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write class, settings and what was learned to a ``.npz`` file at exactly `path`.

        Parameters
        ----------
        path : path

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        TypeError
            If `load` would not know the class: it is `Preprocessor` itself, or has a name that
            another class has too.
        """
        import json  # here, for it would be a twentieth of `import fastnn`

        self._check_fitted("save")
        name = type(self).__name__
        if Preprocessor._known().get(name) is not type(self):
            raise TypeError(
                f"{name}.save: load knows no such class (it is the base class, or another has its "
                "name), expected ZeroCenter, Standardize or another subclass of Preprocessor"
            )
        header = {"class": name, "settings": self._settings()}
        content: dict[str, Any] = {"header": np.array(json.dumps(header)), **self.state_dict()}
        with open(path, "wb") as file:
            np.savez(file, **content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return what ``save`` wrote; like the function `load`, but only for this class.

        Parameters
        ----------
        path : path

        Returns
        -------
        Preprocessor

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, was not written by ``save``, or holds another class.
        """
        from fastnn.preprocessing._saved import load  # which needs this class

        loaded = load(path)
        if not isinstance(loaded, cls):
            raise ValueError(f"{path}: expected {cls.__name__}, got {type(loaded).__name__}")
        return loaded

    @classmethod
    def _known(cls) -> dict[str, type[Preprocessor]]:
        """The classes that can be loaded, by name; of two with one name the first."""
        known: dict[str, type[Preprocessor]] = {}
        for subclass in cls.__subclasses__():
            known = {**subclass._known(), subclass.__name__: subclass, **known}
        return known

    def _settings(self) -> dict[str, Any]:
        return {"dtype": None if self.dtype is None else self.dtype.name}

    def _where(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _has_rank(self, rank: int) -> bool:
        return rank >= 1 if "..." in self._axis_names else rank == len(self._axis_names)

    def _kept(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(n for axis, n in enumerate(shape) if axis not in self._averaged_axes)

    def _samples(self, X: ArrayLike, method: str) -> NDArray[Any]:
        X = to_array(X)
        if X.dtype.kind not in "biuf":
            raise TypeError(
                f"{self._where(method)}: expected integers, booleans or real floats, "
                f"got dtype {X.dtype}"
            )
        if not self._has_rank(X.ndim):
            raise ValueError(
                f"{self._where(method)}: expected X of shape ({', '.join(self._axis_names)}), "
                f"got shape {X.shape}"
            )
        return X

    def _check_fitted(self, method: str) -> None:
        if not hasattr(self, "mean_"):
            raise NotFittedError(f"{self._where(method)}: nothing learned yet; call fit first")

    def _apply(self, X: ArrayLike, method: str) -> NDArray[np.floating]:
        self._check_fitted(method)
        X = self._samples(X, method)
        if self._kept(X.shape) != self.mean_.shape:
            raise ValueError(
                f"{self._where(method)}: expected samples like those of fit, of shape "
                f"{self.feature_shape_}, got X of shape {X.shape} with samples of {X.shape[1:]}"
            )
        mean = np.expand_dims(self.mean_, self._averaged_axes)
        scale = 1.0 if self.scale_ is None else np.expand_dims(self.scale_, self._averaged_axes)
        result = np.empty(X.shape, dtype=self._result_dtype(X.dtype))
        for start, part in chunks(X):
            if method == "transform":
                part -= mean
                part /= scale
            else:
                part *= scale
                part += mean
            result[start : start + len(part)] = part
        return result

    def _result_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        if self.dtype is not None:
            return self.dtype
        if dtype.kind != "f" or dtype.itemsize < 4:
            return np.dtype(np.float32)
        return dtype.newbyteorder("=")
