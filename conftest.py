"""Lets the tests see the fastnn that is installed.

`python -m pytest` puts this folder first on the path, and the `fastnn/` in it is source: unless it
was built in place, the package to test is the one that pip installed.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent
BUILT_IN_PLACE = any((ROOT / "fastnn" / "_core").glob("program.*.so"))

if not BUILT_IN_PLACE:
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
