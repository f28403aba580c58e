"""Tasks divided among a team of threads, of which who is done early helps the others.

    tasks    0 1 2 3 4 5 │ 6 7 8 9 10 11
    share of thread 0    │ share of thread 1
             ──────────▶   ──────▶      ◀── taken one by one; thread 0, done, takes 11 too

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
    # A thread takes so many pieces of its share, of one task or of several: to take one is an atomic
    # addition, which takes as long as copying a kilobyte.
    PIECES = 64

cdef struct Share:
    Py_ssize_t next
    Py_ssize_t end
    Py_ssize_t padding[14]  # 128 bytes in all: no line, nor its neighbour, is another's

cdef struct Team:
    Task run
    const void* context
    Py_ssize_t piece         # tasks that are taken at once
    Share shares[MOST_SHARES]
    int share_count
    bint helps


cdef void work_on(Team* team, Share* share, char* workspace) noexcept nogil:
    """The tasks of a share that nobody has taken."""
    cdef Py_ssize_t task, end
    while __atomic_load_n(&share.next, __ATOMIC_RELAXED) < share.end:
        task = __atomic_fetch_add(&share.next, team.piece, __ATOMIC_RELAXED)
        end = min(task + team.piece, share.end)
        while task < end:
            team.run(team.context, task, workspace)
            task += 1


cdef void run_member(Team* team, int thread, char* workspace) noexcept nogil:
    """What one thread does: its share, then what is left of the others'."""
    cdef int i
    for i in range(team.share_count if team.helps else 1):
        work_on(team, &team.shares[(thread + i) % team.share_count], workspace)


cdef void run_tasks(
    Task run, const void* context, Py_ssize_t tasks,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """All tasks of a job, by one thread or by the team.

    Each thread hands its own `workspace_per_thread` bytes of the workspace to its tasks.
    """
    cdef Team team
    cdef Py_ssize_t task
    cdef int i, thread
    if threads == 1 or tasks == 1:
        # Not even a region of one thread: it would cost as much as a small product.
        for task in range(tasks):
            run(context, task, workspace)
        return
    team.run, team.context = run, context
    team.share_count = min(threads, <int>MOST_SHARES)
    team.helps = tasks >= TASKS_WORTH_HELP * threads
    team.piece = max(tasks // (team.share_count * PIECES), <Py_ssize_t>1)
    for i in range(team.share_count):
        team.shares[i].next = start_of_share(i, tasks, team.share_count)
        team.shares[i].end = start_of_share(i + 1, tasks, team.share_count)
    for thread in prange(threads, schedule="static", num_threads=threads):
        run_member(&team, thread, workspace + thread * workspace_per_thread)


cdef struct Trial:
    int64_t* done_by
    int64_t* times
    const char* workspace
    Py_ssize_t first_slow
    Py_ssize_t last_slow
    double nanoseconds_of_slow


cdef void note_thread(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """Writes down who did a task, after as long as that was to take."""
    cdef const Trial* trial = <const Trial*>context
    cdef double end = nanoseconds() + trial.nanoseconds_of_slow
    if trial.first_slow <= task < trial.last_slow:
        while nanoseconds() < end:
            pass
    trial.done_by[task] = workspace - trial.workspace
    trial.times[task] += 1


def who_does(Py_ssize_t tasks, int threads, slow=range(0), double milliseconds=1):
    """How a team divides tasks of which a range is `slow`: the thread that did each, and how often.

    Returns
    -------
    done_by, times : ndarray of (tasks,), int64
    """
    cdef cnp.ndarray done_by = np.full(tasks, -1), times = np.zeros(tasks, np.int64)
    cdef Trial trial
    cdef char workspace
    trial.done_by = <int64_t*>cnp.PyArray_DATA(done_by)
    trial.times = <int64_t*>cnp.PyArray_DATA(times)
    trial.workspace = &workspace
    trial.first_slow, trial.last_slow = slow.start, slow.stop
    trial.nanoseconds_of_slow = milliseconds * 1e6
    with nogil:
        run_tasks(note_thread, &trial, tasks, &workspace, 1, threads)
    return done_by, times
