"""Whether the inputs are fit to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._compiler.trace import flatten_structure
from fastnn.diagnostics.check import Check, Findings, judge
from fastnn.diagnostics.figures import BAD, GOOD, histogram
from fastnn.diagnostics.sandbox import count_examples, take
from fastnn.preprocessing import Preprocessor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# The mean of all features, as a share of their standard deviation, that still counts as centred.
MOST_OFFSET = 0.25
# Inputs of another overall size do not go with initial weights that are made for size 1.
LEAST_SCALE, MOST_SCALE = 0.01, 10.0
# Ranges of features that differ by more than two orders of magnitude. Of many features the
# outermost twentieth are left out: a pixel at the border is lit in a single image.
MOST_RATIO = 100.0
MANY_FEATURES = 20
# A mean that was subtracted is zero within the rounding of float32; a leaked one is off by about
# 1 / sqrt(examples) of a standard deviation.
SUBTRACTED = 1e-4
LEAKED_FACTOR = 10.0
# Pixels reach well above this, and nothing that was preprocessed does.
PIXELS = 100.0


def preprocessing_check(
    X: ArrayLike,
    held_out: ArrayLike | None = None,
    preprocessor: Preprocessor | None = None,
) -> Check:
    """Looks at training inputs as the network gets them.

    Faults are: NaN or infinite values; image data still in 0..255; features that are not centred
    (all positive ones make the gradients of a unit's weights all of one sign); scales that differ
    by orders of magnitude, or an overall scale far from 1; a mean that was learned from other data
    than the training set. Constant and duplicated features are noted.

    Parameters
    ----------
    X : array_like
        The training set, preprocessed: (examples, features) or images (N, C, H, W).
    held_out : array_like, optional
        Validation or test inputs, preprocessed in the same way. If the mean of both together is
        zero to rounding, but that of `X` is not, the mean was learned from both.
    preprocessor : Preprocessor, optional
        What made `X`. If it subtracts a mean, and the mean of `X` is not zero, it was fitted to
        other data.

    Returns
    -------
    Check
        ``data`` holds "mean", "std" and "range" by feature, and a "histogram" of all.

    Raises
    ------
    TypeError
        If X does not hold real numbers.
    ValueError
        If it is empty.

    References
    ----------
    CS231n, Stanford 2016, lecture 5, "Data preprocessing"; LeCun, Bottou, Orr and Mueller,
    Efficient BackProp, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import diagnostics
    >>> X = np.random.default_rng(0).integers(0, 256, size=(100, 20))
    >>> print(diagnostics.preprocessing_check(X).advice.splitlines()[0])
    image data still in 0..255: divide by 255 and subtract the mean of the training set
    >>> diagnostics.preprocessing_check((X - X.mean(axis=0)) / X.std(axis=0)).passed
    True
    """
    count_examples(X)
    findings = Findings()
    leaves = flatten_structure(take(X, slice(None)))
    arrays = [leaf for leaf in leaves if leaf.dtype.kind in "biuf"]
    if not arrays:
        found = sorted({str(leaf.dtype) for leaf in leaves}) or "nothing"
        raise TypeError(f"X: got {found}, expected an array of real numbers")
    if not any(array.size for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"X: got shape {shapes}, expected examples that are not empty")
    features = np.concatenate([a.reshape(len(a), -1).astype(np.float64) for a in arrays], axis=1)
    bad = int((~np.isfinite(features)).sum())
    if bad:
        columns = np.flatnonzero((~np.isfinite(features)).any(axis=0))
        findings.fault(
            f"{bad} values are NaN or infinite, the first in feature {columns[0]}",
            "remove these examples, or fill in the feature's mean",
        )
        return judge(
            *("preprocessing", findings, f"{bad} values not finite", "finite values"),
            {"bad": bad, "features": columns},
            draw=None,
        )
    mean, std = features.mean(axis=0), features.std(axis=0)
    width = np.ptp(features, axis=0)
    varying = width > 0
    size = float(np.sqrt((std**2).mean()))
    offset = float(np.sqrt((mean**2).mean()) / size) if size else float("inf")
    check_range(findings, features, offset, size)
    check_scales(findings, width[varying])
    check_columns(findings, features, varying)
    if held_out is not None or preprocessor is not None:
        check_leak(findings, features, held_out, preprocessor)
    return judge(
        "preprocessing",
        findings,
        f"mean {offset:.2g} standard deviations from zero, standard deviation {size:.3g}",
        "mean about 0, standard deviation about 1, finite",
        {"mean": mean, "std": std, "range": width, "offset": offset, "scale": size}
        | {"histogram": histogram(features, 80)},
        draw=draw_values,
        size=(8.0, 2.6),
    )


def check_range(findings: Findings, features: NDArray, offset: float, size: float) -> None:
    """0..255, not centred, all positive, overall scale."""
    if features.min() >= 0 and PIXELS < features.max() <= 255:
        findings.fault(
            "image data still in 0..255", "divide by 255 and subtract the mean of the training set"
        )
    elif offset > MOST_OFFSET and features.min() >= 0:
        findings.fault(
            "all inputs are positive",
            "subtract the mean of the training set, or the gradients of a unit's weights all have "
            "one sign",
        )
    elif offset > MOST_OFFSET:
        findings.fault(
            f"inputs are not centred (the mean is {offset:.2g} standard deviations off)",
            "subtract the mean of the training set",
        )
    if not LEAST_SCALE <= size <= MOST_SCALE and not (features.min() >= 0 and size > MOST_SCALE):
        findings.fault(
            f"the inputs' standard deviation is {size:.3g}",
            "divide by the standard deviation of the training set (pixels: by 255)",
        )


def check_scales(findings: Findings, width: NDArray) -> None:
    """Features whose ranges differ by orders of magnitude."""
    if len(width) < 2:
        return
    few = len(width) <= MANY_FEATURES
    least, most = (width.min(), width.max()) if few else np.percentile(width, [5, 95])
    if most > MOST_RATIO * least:
        findings.fault(
            f"scales of features differ by a factor of {most / least:.1g}",
            "standardize each feature (fastnn.preprocessing.Standardize)",
        )


def check_columns(findings: Findings, features: NDArray, varying: NDArray) -> None:
    """Features that tell nothing, or nothing new."""
    constant = int((~varying).sum())
    if constant:
        findings.note(f"{constant} features are constant: they tell nothing and may be left out")
    distinct = {column.tobytes() for column in np.ascontiguousarray(features.T[varying])}
    duplicated = int(varying.sum()) - len(distinct)
    if duplicated:
        findings.note(f"{duplicated} features are duplicates of others and may be left out")


def check_leak(
    findings: Findings,
    features: NDArray,
    held_out: ArrayLike | None,
    preprocessor: Preprocessor | None,
) -> None:
    """Whether the mean was learned from the training set alone."""

    def offset(rows: NDArray) -> float:
        spread = np.sqrt((rows.std(axis=0) ** 2).mean())
        return float(np.sqrt((rows.mean(axis=0) ** 2).mean()) / spread) if spread else 0.0

    own = offset(features)
    if held_out is not None:
        others = flatten_structure(take(held_out, slice(None)))
        rows = np.concatenate([a.reshape(len(a), -1).astype(np.float64) for a in others], axis=1)
        together = offset(np.concatenate([features, rows]))
        if own > LEAKED_FACTOR * together and together < SUBTRACTED:
            findings.fault(
                "test data leaked into the mean (it is zero over training and held-out data)",
                "fit the preprocessing to the training set alone, and transform the rest with it",
            )
            return
    if preprocessor is not None and own > SUBTRACTED:
        findings.fault(
            f"the mean is not the training set's (it is {own:.2g} standard deviations off)",
            "fit the preprocessing to the training set alone, and transform the rest with it",
        )


def draw_values(check: Check, ax: Any) -> None:
    """A histogram of all inputs, and of the means of the features."""
    colour = GOOD if check.passed else BAD
    counts, edges = check.data["histogram"]
    ax.bar(edges[:-1], counts / counts.max(), np.diff(edges), align="edge", color=colour, alpha=0.8)
    counts, _ = np.histogram(check.data["mean"], bins=edges)
    ax.step(
        edges[:-1],
        counts / max(counts.max(), 1),
        where="post",
        color="0.25",
        linewidth=1,
        label="means of features",
    )
    ax.axvline(0, color="0.5", linestyle="--", linewidth=0.8)
    ax.set_yscale("symlog", linthresh=1e-3)
    ax.set_yticks([])
    ax.set_yticks([], minor=True)
    ax.set_xlabel("input (share on a log scale)")
    ax.legend(fontsize=8)
