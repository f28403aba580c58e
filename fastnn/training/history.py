"""History: what a training measured, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class History(Mapping[str, list[float]]):
    """A mapping of names ("loss", "accuracy", "val_loss", ...) to a value for each epoch.

    Examples
    --------
    >>> history = History()
    >>> history.append({"loss": 2.3}); history.append({"loss": 1.1})
    >>> history["loss"], len(history.epochs)
    ([2.3, 1.1], 2)
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self.stopped: str | None = None

    @property
    def epochs(self) -> range:
        """Numbers of the epochs."""
        return range(max((len(column) for column in self._columns.values()), default=0))

    def append(self, row: Mapping[str, float]) -> None:
        """Adds an epoch.

        Parameters
        ----------
        row : mapping of str to float
        """
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"History({len(self.epochs)} epochs: {', '.join(self._columns)})"

    def plot(self, ax: Any = None) -> Any:
        """Draws loss and accuracy over the epochs with matplotlib.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, optional
            Where to draw: losses on the first, accuracies on the second.

        Returns
        -------
        ndarray of Axes
            One for the losses, and a second for accuracies where there are any.
        """
        import numpy as np

        kinds = [
            (kind, [name for name in self if name.removeprefix("val_") == kind])
            for kind in ("loss", "accuracy")
        ]
        kinds = [(kind, names) for kind, names in kinds if names] or [("loss", [])]
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(1, len(kinds), figsize=(4.8 * len(kinds), 3.6), squeeze=False)
            ax[0, 0].figure.set_layout_engine("constrained")
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        for axis, (kind, names) in zip(axes, kinds, strict=False):
            for name in names:
                validation = name.startswith("val_")
                axis.plot(
                    [epoch + 1 for epoch in range(len(self[name]))],
                    self[name],
                    label="validation" if validation else "training",
                    color="tab:orange" if validation else "tab:blue",
                    marker="o" if len(self[name]) <= 30 else None,
                    markersize=3,
                )
            axis.set_xlabel("epoch")
            axis.set_ylabel(kind)
            axis.grid(alpha=0.3)
            axis.xaxis.get_major_locator().set_params(integer=True)
            if names:
                axis.legend()
        return axes
