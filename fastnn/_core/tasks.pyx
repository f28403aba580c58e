"""Tasks divided among a team of threads, of which who is done early helps the others.

    tasks  0 1 2 3 4 5 │ 6 7 8 9 10 11
    share of thread 0  │ share of thread 1
           ──────────▶   ──────▶    ▲
           done ────────────────────┘ then it takes what is left of the other's, piece by piece

A thread's share is always the same, so that what it wrote in one kernel it finds in its cache in the
next. But cores are not equally fast: some are built smaller, and on a shared machine neighbours take
up to half of one, for seconds. Which thread does a task changes nothing in the result.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport prange
from libc.stdint cimport int64_t

from fastnn._core.clock cimport nanoseconds

cnp.import_array()

cdef enum:
    # What is left of a share is taken in so many pieces, of one task or of several: to take one is an
    # atomic addition, which takes as long as copying a kilobyte.
    PIECES = 64
    # A share that takes less is left alone: to look into another core's takes up to half a microsecond.
    HELP_WORTH_NANOSECONDS = 30000
    # Part of a share that its thread does first, to see how long the share takes.
    PROBED_PART = 16
    # How many times as long a slow task of `who_does` takes.
    SLOW = 5

cdef struct Share:
    Py_ssize_t next         # task that nobody has taken; beyond the share as long as it is not open
    Py_ssize_t padding[15]  # 128 bytes in all: no line, nor its neighbour, is another's


# What the members of a team have to know comes to them as arguments, not in a struct of the thread that
# began: that would be one more line to fetch from its core, for each job.

cdef inline void run_range(
    Task run, const void* context, Py_ssize_t task, Py_ssize_t end, char* workspace,
) noexcept nogil:
    while task < end:
        run(context, task, workspace)
        task += 1


cdef void work_on(
    Task run, const void* context, Share* share, Py_ssize_t piece, Py_ssize_t end, char* workspace,
) noexcept nogil:
    """What nobody has taken of a share."""
    cdef Py_ssize_t task
    while __atomic_load_n(&share.next, __ATOMIC_RELAXED) < end:
        task = __atomic_fetch_add(&share.next, piece, __ATOMIC_RELAXED)
        run_range(run, context, task, min(task + piece, end), workspace)


cdef void run_member(
    Task run, const void* context, Py_ssize_t tasks, Share* shares, int team, int member,
    char* workspace,
) noexcept nogil:
    """What one thread does: its share, which it opens to the others if that takes long, then theirs."""
    cdef Py_ssize_t start = start_of_share(member, tasks, team)
    cdef Py_ssize_t end = start_of_share(member + 1, tasks, team)
    cdef Py_ssize_t probed = start + max((end - start) // PROBED_PART, <Py_ssize_t>1)
    cdef Py_ssize_t piece = max((end - start) // PIECES, <Py_ssize_t>1)
    cdef double began = nanoseconds()
    cdef int i, other
    run_range(run, context, start, probed, workspace)
    if (nanoseconds() - began) * (end - start) < HELP_WORTH_NANOSECONDS * (probed - start):
        run_range(run, context, probed, end, workspace)
        return
    __atomic_store_n(&shares[member].next, probed, __ATOMIC_RELAXED)
    for i in range(team):
        other = (member + i) % team
        work_on(run, context, &shares[other], piece, start_of_share(other + 1, tasks, team), workspace)


cdef void run_tasks(
    Task run, const void* context, Py_ssize_t tasks,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """All tasks of a job, by one thread or by the team.

    Each thread hands its own `workspace_per_thread` bytes of the workspace to its tasks.
    """
    cdef Share shares[MOST_SHARES]
    cdef int member, team = min(threads, <int>MOST_SHARES)
    if team == 1 or tasks <= 1:
        # Not even a region of one thread: it would cost as much as a small product.
        run_range(run, context, 0, tasks, workspace)
    elif tasks < TASKS_WORTH_HELP * team:
        for member in prange(team, schedule="static", num_threads=team):
            run_range(run, context, start_of_share(member, tasks, team),
                      start_of_share(member + 1, tasks, team),
                      workspace + member * workspace_per_thread)
    else:
        for member in range(team):
            shares[member].next = tasks
        for member in prange(team, schedule="static", num_threads=team):
            run_member(run, context, tasks, shares, team, member,
                       workspace + member * workspace_per_thread)


cdef struct Trial:
    int64_t* done_by
    int64_t* times
    const char* workspace
    Py_ssize_t first_slow
    Py_ssize_t last_slow
    double nanoseconds


cdef void note_thread(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """Writes down who did a task, after as long as that was to take."""
    cdef const Trial* trial = <const Trial*>context
    cdef double end = nanoseconds() + trial.nanoseconds
    if trial.first_slow <= task < trial.last_slow:
        end += (SLOW - 1) * trial.nanoseconds
    while nanoseconds() < end:
        pass
    trial.done_by[task] = workspace - trial.workspace
    trial.times[task] += 1


def who_does(Py_ssize_t tasks, int threads, slow=range(0), double microseconds=0):
    """How a team divides tasks of some microseconds, a range of them `slow`, with 5 times as many.

    Returns
    -------
    done_by, times : ndarray of (tasks,), int64
        The thread that did each task, and how often it was done.
    """
    cdef cnp.ndarray done_by = np.full(tasks, -1), times = np.zeros(tasks, np.int64)
    cdef Trial trial
    cdef char workspace
    trial.done_by = <int64_t*>cnp.PyArray_DATA(done_by)
    trial.times = <int64_t*>cnp.PyArray_DATA(times)
    trial.workspace = &workspace
    trial.first_slow, trial.last_slow = slow.start, slow.stop
    trial.nanoseconds = microseconds * 1000
    with nogil:
        run_tasks(note_thread, &trial, tasks, &workspace, 1, threads)
    return done_by, times
