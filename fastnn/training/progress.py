"""The progress bar of a training: on a terminal only."""

from __future__ import annotations

import sys
import time


class Progress:
    """A line for each epoch with loss, accuracy and examples per second.

    Parameters
    ----------
    examples : int
        Examples of an epoch.
    epochs : int
    show : bool or None
        None shows it where the standard error is a terminal.
    """

    def __init__(self, examples: int, epochs: int, show: bool | None):
        self.examples, self.epochs = examples, epochs
        self.show = sys.stderr.isatty() if show is None else show
        self.bar = None
        self.started = time.perf_counter()

    def start_epoch(self, epoch: int) -> None:
        """Opens the line of an epoch."""
        self.started = time.perf_counter()
        if self.show:
            from tqdm.auto import tqdm

            width = len(str(self.epochs))
            self.bar = tqdm(
                total=self.examples,
                desc=f"epoch {epoch + 1:{width}}/{self.epochs}",
                unit=" examples",
                unit_scale=True,
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def update(
        self, batches: int, examples: int, loss_sum: float, correct: float, counted: float
    ) -> None:
        """Shows how far an epoch is."""
        if self.bar is None or not examples:
            return
        figures = {"loss": f"{loss_sum / examples:.4f}"}
        if counted:
            figures["accuracy"] = f"{correct / counted:.4f}"
        self.bar.set_postfix(figures, refresh=False)
        self.bar.update(examples - self.bar.n)

    def end_epoch(self, row: dict[str, float]) -> None:
        """Closes the line with the epoch's figures."""
        if self.bar is not None:
            shown = {k: f"{v:.4f}" for k, v in row.items() if k.endswith(("loss", "accuracy"))}
            self.bar.set_postfix(shown)
            self.close()

    def close(self) -> None:
        """Ends the line, whatever happened."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
