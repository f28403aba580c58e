"""Tasks and teams: every task is done once, and who is done with a share helps the others."""

import re
from pathlib import Path

import numpy as np
import pytest
from fastnn._core.cpu import has_openmp
from fastnn._core.tasks import who_does

with_openmp = pytest.mark.skipif(not has_openmp(), reason="built without OpenMP")
CORE = Path(__file__).parents[1] / "fastnn" / "_core"


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 64, 70])
@pytest.mark.parametrize("tasks", [0, 1, 2, 7, 8, 9, 100, 1000])
def test_every_task_is_done_once(tasks, threads):
    done_by, times = who_does(tasks, threads)
    assert (times == 1).all()
    assert ((done_by >= 0) & (done_by < threads)).all()


def test_few_tasks_stay_with_their_threads():
    done_by, _ = who_does(6, 2, slow=range(1), microseconds=100)
    assert done_by.tolist() == [0, 0, 0, 1, 1, 1]


def test_short_jobs_stay_with_their_threads():
    done_by, _ = who_does(8, 2)
    assert done_by.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@with_openmp
@pytest.mark.parametrize("slow", [range(20), range(20, 40)])
def test_who_is_done_helps(slow):
    """One thread is done with its share while the other has done a few of its tasks.

    In one of some tries: a thread may have to be woken first, or wait for a processor.
    """
    halves = np.repeat([0, 1], 20)
    tries = [who_does(40, 2, slow=slow, microseconds=50)[0] for _ in range(10)]
    quick = [i for i in range(40) if i not in slow]
    assert any(
        (done_by != halves)[slow].any() and (done_by == halves)[quick].all() for done_by in tries
    )


@with_openmp
def test_shares_of_equal_tasks_are_even():
    """Each thread begins with its own half, so that what it wrote before is in its cache."""
    halves = np.repeat([0, 1], 20)
    kept = [(who_does(40, 2, microseconds=100)[0] == halves).mean() for _ in range(10)]
    assert max(kept) >= 0.9


def test_no_kernel_divides_work_by_itself():
    """OpenMP has one gateway."""
    users = {
        path.relative_to(CORE).as_posix()
        for pattern in ("*.pyx", "*.pxd")
        for path in CORE.rglob(pattern)
        if re.search(r"cython\.parallel|\bprange\b", path.read_text())
    }
    assert users == {"tasks.pyx"}
