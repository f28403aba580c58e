"""The asv suite: fastnn against its own past."""
