"""Where the time of a training step goes.

measure.py runs the steps of a compiled program one by one and says for each what it computed in
what time; peak.py measures what the machine could have computed in that time.
"""

from fastnn.profiling.measure import OperatorTime, Profile, profile

__all__ = ["OperatorTime", "Profile", "profile"]
