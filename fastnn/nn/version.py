"""Counters by which compiled programs, and lists of what is inside, know that nothing has changed."""


class StructureVersion:
    """Counts attribute changes of any module."""

    count = 0


class MembershipVersion:
    """Counts the changes of attributes that are modules or parameters."""

    count = 0


class LayoutVersion:
    """Counts the moves of parameters in memory."""

    count = 0
