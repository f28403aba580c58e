"""Counters by which what was worked out about modules (programs, lists) is known to hold still."""


class StructureVersion:
    """Counts attribute changes of any module."""

    count = 0


class MembershipVersion:
    """Counts the changes of attributes that are modules or parameters."""

    count = 0


class LayoutVersion:
    """Counts the moves of parameters in memory."""

    count = 0
