"""Check: what every diagnostic returns, as an object, a table, HTML and a picture."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastnn._table import table_lines
from fastnn.diagnostics.figures import draw_verdict, new_axes, text_size

# How lines of advice begin that do not fail a check.
NOTE = "note: "
# Columns of a printed line beside its label; a report indents it by three more.
COLUMNS = 80


@dataclass(frozen=True)
class Table:
    """Rows of figures below a verdict."""

    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def lines(self) -> list[str]:
        """The table as lines of text: text to the left, numbers to the right."""
        cells = [self.header, *[tuple(show(cell) for cell in row) for row in self.rows]]
        numeric = [
            all(isinstance(row[i], (int, float, np.number, type(None))) for row in self.rows)
            for i in range(len(self.header))
        ]
        (header, *lines), rule = table_lines(cells, numeric)
        return [header, rule, *lines]

    def html(self) -> str:
        """The table as HTML."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(show(cell))}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass
class Findings:
    """What a check found: faults, which fail it, and notes, which don't."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, what: str, advice: str) -> None:
        """Something that has to be mended, and how."""
        self.faults.append(f"{what}: {advice}")

    def note(self, what: str) -> None:
        """Something worth knowing."""
        self.notes.append(what)

    @property
    def passed(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def advice(self) -> str:
        """Faults first, a line each."""
        return "\n".join([*self.faults, *[NOTE + note for note in self.notes]])


@dataclass(frozen=True)
class Check:
    """The verdict of a diagnostic.

    Attributes
    ----------
    name : str
    passed : bool
        Also the check's own truth value.
    measured, expected : float or str
        What was found, and what theory or experience says.
    advice : str
        What to do, a line for each fault; lines that begin with "note:" don't fail the check.
    data : dict
        The figures behind it.
    table : Table or None
        Those that are printed.
    draw : callable or None
        Draws the check on given axes; see `plot`.
    size : (float, float)
        Inches of the picture.

    Examples
    --------
    >>> check = Check("first loss", True, 2.3026, "log(10) = 2.3026", "", {})
    >>> print(check)
    ok    first loss
          measured  2.303
          expected  log(10) = 2.3026
    >>> bool(check)
    True
    """

    name: str
    passed: bool
    measured: Any
    expected: Any
    advice: str
    data: Mapping[str, Any] = field(repr=False)
    table: Table | None = field(default=None, repr=False)
    draw: Callable[[Check, Any], None] | None = field(default=None, repr=False)
    size: tuple[float, float] = field(default=(8.0, 3.4), repr=False)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        lines = [f"{'ok  ' if self.passed else 'FAIL'}  {self.name}"]
        entries = (("measured", show(self.measured)), ("expected", show(self.expected)))
        for label, text in (*entries, ("advice", self.advice)):
            rows = [row for line in text.splitlines() for row in textwrap.wrap(line, COLUMNS)]
            for i, row in enumerate(rows):
                lines.append(f"      {label if i == 0 else '':8}  {row}")
        if self.table is not None and self.table.rows:
            lines += ["", *[f"      {line}" for line in self.table.lines()]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        verdict = "ok" if self.passed else "fail"
        rows = [("measured", show(self.measured)), ("expected", show(self.expected))]
        for line in self.advice.splitlines():
            is_note = line.startswith(NOTE)
            rows.append(("note", line.removeprefix(NOTE)) if is_note else ("advice", line))
        entries = "".join(
            f"<dt>{label}</dt><dd>{html.escape(text)}</dd>" for label, text in rows if text
        )
        table = self.table.html() if self.table is not None and self.table.rows else ""
        return (
            f'<section class="check {verdict}"><h3>{html.escape(self.name)} '
            f"<em>{verdict}</em></h3><dl>{entries}</dl>{table}</section>"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draws what was measured with matplotlib.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default on a new figure.

        Returns
        -------
        Axes
        """
        if ax is None:
            ax = new_axes(*self.size)
        (self.draw or draw_verdict)(self, ax)
        return ax


def show(value: Any) -> str:
    """A figure with four digits; text as it is."""
    if value is None:
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return str(value)


def judge(
    name: str,
    findings: Findings,
    measured: Any,
    expected: Any,
    data: Mapping[str, Any],
    table: tuple[Sequence[str], list[tuple[Any, ...]]] | None = None,
    draw: Callable[[Check, Any], None] | None = None,
    size: tuple[float, float] = (8.0, 3.4),
) -> Check:
    """The Check that some findings amount to."""
    check = Check(
        name,
        findings.passed,
        measured,
        expected,
        findings.advice(),
        data,
        None if table is None else Table(tuple(table[0]), table[1]),
        draw,
        size,
    )
    return check if draw is not None else replace(check, size=text_size(str(check)))
