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
                bar_format="{desc} |{bar}| {rate_fmt}{postfix}",  # short enough for 80 columns
            )

    def update(
        self, batches: int, examples: int, loss_sum: float, correct: float, counted: float
    ) -> None:
        """Shows how far an epoch is."""
        if self.bar is None or not examples:
            return
        row = {"loss": loss_sum / examples}
        if counted:
            row["accuracy"] = correct / counted
        self.bar.set_postfix_str(told(row), refresh=False)
        self.bar.update(examples - self.bar.n)

    def end_epoch(self, row: dict[str, float]) -> None:
        """Closes the line with the epoch's figures."""
        if self.bar is not None:
            # Without the bar all figures have room on 80 columns.
            self.bar.bar_format = "{desc}, {rate_fmt}"
            self.bar.set_description_str(f"{self.bar.desc} {told(row)}", refresh=False)
            self.close()

    def close(self) -> None:
        """Ends the line, whatever happened."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def told(row: dict[str, float]) -> str:
    """Loss and accuracy, and those of validation data in parentheses.

    >>> told({"loss": 0.5, "accuracy": 0.9, "lr": 0.1, "val_loss": 0.6, "val_accuracy": 0.8})
    'loss 0.5000, accuracy 0.9000 (val 0.6000, 0.8000)'
    """
    names = [name for name in ("loss", "accuracy") if name in row]
    text = ", ".join(f"{name} {row[name]:.4f}" for name in names)
    held_out = [f"{row[f'val_{name}']:.4f}" for name in names if f"val_{name}" in row]
    return f"{text} (val {', '.join(held_out)})" if held_out else text
