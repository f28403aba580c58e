"""The chapters of the course run without MNIST and without a warning.

With MNIST, where it is there, they run when the site is built.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn

pytest.importorskip("matplotlib", reason="the chapters draw with matplotlib")

CHAPTERS = sorted((Path(__file__).parents[1] / "docs" / "course").glob("plot_*.py"))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_chapter(chapter, tmp_path):
    finished = subprocess.run(
        [sys.executable, "-W", "error", str(chapter)],
        env={
            **os.environ,
            "FASTNN_MNIST": str(tmp_path / "absent"),
            "MPLBACKEND": "template",  # draws nothing: what is drawn is seen when the site is built
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(fastnn.__file__).parents[1]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert not list(tmp_path.iterdir()), "a chapter leaves no files"
    if "handwriting" in chapter.read_text():
        assert "the digits that come with fastnn" in finished.stdout
