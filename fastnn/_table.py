"""Tables as lines of text, for results that print as one."""

from __future__ import annotations

from collections.abc import Sequence


def table_lines(rows: Sequence[Sequence[str]], to_right: Sequence[bool]) -> tuple[list[str], str]:
    """A line for each row, columns of even width, and a rule as long as they are.

    >>> lines, rule = table_lines([("layer", "size"), ("a", "1,000")], [False, True])
    >>> for line in [lines[0], rule, *lines[1:]]:
    ...     print(line)
    layer   size
    ------------
    a      1,000
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, to_right, strict=True)
        ).rstrip()
        for row in rows
    ]
    return lines, "-" * (sum(widths) + 2 * (len(widths) - 1))
