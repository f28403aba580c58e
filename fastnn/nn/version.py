"""Counters by which compiled programs know at once that nothing has changed."""


class StructureVersion:
    """Counts attribute changes of any module."""

    count = 0


class LayoutVersion:
    """Counts the moves of parameters in memory."""

    count = 0
