"""Other Python processes, which see the same fastnn as the tests."""

import os
import subprocess
import sys
from pathlib import Path

import fastnn

# In a debug build (.ci/sanitize) malloc is the sanitizer's, and everything is slow.
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")

# -P keeps the working directory off the path: there lies source that may not be built.
COMMAND = [sys.executable, "-P", "-W", "ignore", "-c"]


def environment(**changes):
    """The environment of a child, with changes."""
    return {**os.environ, "PYTHONPATH": str(Path(fastnn.__file__).parents[1]), **changes}


def run(code, **changes):
    """Runs code to its end; the result has stdout and stderr as text."""
    return subprocess.run(
        [*COMMAND, code], env=environment(**changes), capture_output=True, text=True, timeout=300
    )
