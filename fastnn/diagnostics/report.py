"""The report of `babysit`: as text, in a notebook, and as one self-contained page."""

from __future__ import annotations

import html
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fastnn.diagnostics.check import NOTE, Check
from fastnn.diagnostics.figures import data_uri

# Longer tables are folded.
ROWS_SHOWN = 12
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 0.4rem;
     border-bottom: 1px solid #ddd; } h3 { font-size: 1rem; margin: 1.2rem 0 0.3rem; }
h3 em { font-style: normal; font-size: 0.8rem; padding: 0.05rem 0.5rem; border-radius: 0.6rem;
        color: white; margin-left: 0.4rem; }
.ok h3 em { background: #2a8a3e; } .fail h3 em { background: #c62828; }
.fail { border-left: 4px solid #c62828; padding-left: 0.9rem; }
dl { display: grid; grid-template-columns: 6rem 1fr; margin: 0; } dt { color: #777; }
dd { margin: 0; } img { max-width: 100%; margin-top: 0.5rem; }
table { border-collapse: collapse; font-size: 0.82rem; margin-top: 0.5rem; }
td, th { padding: 0.1rem 0.7rem; text-align: left; border-bottom: 1px solid #eee; }
td { font-variant-numeric: tabular-nums; }
.summary { color: #555; } .faults li { margin: 0.3rem 0; } .skipped { color: #999; }
details summary { cursor: pointer; color: #777; font-size: 0.85rem; margin-top: 0.4rem; }
"""


@dataclass(frozen=True)
class Step:
    """One of the seven steps, with its checks; none of them if it was not reached."""

    title: str
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether all its checks passed."""
        return all(self.checks)


@dataclass(frozen=True)
class Report:
    """What `babysit` found.

    Attributes
    ----------
    steps : list of Step
    stopped : str
        Why it ended before the last step, or "".
    seconds : float
    """

    steps: list[Step]
    stopped: str
    seconds: float

    @property
    def checks(self) -> list[Check]:
        """All checks, in the order in which they were made."""
        return [check for step in self.steps for check in step.checks]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(self.checks)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def faults(self) -> list[str]:
        """What has to be mended, the first cause first."""
        return [
            f"{check.name}: {line}"
            for check in self.checks
            if not check.passed
            for line in check.advice.splitlines()
            if not line.startswith(NOTE)
        ]

    def _summary(self) -> str:
        count = len(self.faults)
        verdict = f"{count} fault{'s' * (count != 1)}" if count else "no faults"
        made = sum(bool(step.checks) for step in self.steps)
        return f"{verdict} in {made} of {len(self.steps)} steps, {self.seconds:.1f} seconds"

    def __str__(self) -> str:
        lines = [f"babysit: {self._summary()}"]
        for number, step in enumerate(self.steps, 1):
            lines += ["", f"{number}. {step.title}" + ("" if step.checks else ": not reached")]
            lines += [
                f"   {line}"
                for check in step.checks
                for line in str(check).partition("\n\n")[0].splitlines()
            ]
        if self.stopped:
            lines += ["", f"stopped: {self.stopped}"]
        return "\n".join(lines)

    def _body(self, pictures: bool) -> str:
        parts = [f'<h1>babysit</h1><p class="summary">{html.escape(self._summary())}</p>']
        if self.faults:
            items = "".join(f"<li>{html.escape(fault)}</li>" for fault in self.faults)
            parts.append(f'<ol class="faults">{items}</ol>')
        if self.stopped:
            parts.append(f"<p>Stopped: {html.escape(self.stopped)}</p>")
        for number, step in enumerate(self.steps, 1):
            parts.append(f"<h2>{number}. {html.escape(step.title)}</h2>")
            if not step.checks:
                parts.append('<p class="skipped">not reached</p>')
            for check in step.checks:
                short = check.table is not None and len(check.table.rows) <= ROWS_SHOWN
                section = check._repr_html_().replace(
                    "<table>", f"<details{' open' * short}><summary>figures</summary><table>"
                )
                section = section.replace("</table>", "</table></details>")
                if pictures and check.draw is not None:
                    alt = html.escape(check.name)
                    image = f'<img alt="{alt}" src="{data_uri(check)}">'
                    section = section.replace("</section>", f"{image}</section>")
                parts.append(section)
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return (
            f"<style>{scoped(STYLE, '.babysit')}</style>"
            f'<div class="babysit">{self._body(pictures=False)}</div>'
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one self-contained page with the pictures.

        Parameters
        ----------
        path : path
            Of the HTML file.
        """
        page = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>babysit</title>'
            f"<style>{STYLE}</style></head>\n<body>\n{self._body(pictures=True)}\n</body></html>\n"
        )
        Path(path).write_text(page, encoding="utf-8")


def scoped(style: str, scope: str) -> str:
    """Rules that hold inside an element only, so that a report leaves the page around it alone.

    >>> scoped("body { margin: 0; } td, th { color: red; }", ".report")
    '.report { margin: 0; } .report td, .report th { color: red; }'
    """

    def prefixed(match: re.Match[str]) -> str:
        names = [name.strip() for name in match[2].split(",")]
        return match[1] + ", ".join(scope if n == "body" else f"{scope} {n}" for n in names) + " {"

    return re.sub(r"(\s*)([^{}]+?)\s*\{", prefixed, style)
