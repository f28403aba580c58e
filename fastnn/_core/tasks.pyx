"""Tasks divided among a team of threads, of which who is done early helps the others.

    tasks    0 1 2 3 4 5 │ 6 7 8 9 10 11
    share of thread 0    │ share of thread 1
             ──────────▶   ──────▶      ◀── taken one by one; thread 0, done, takes 11 too

A thread's share is always the same, so that what it wrote in one kernel it finds in its cache in the
next. But cores are not equally fast: some are built smaller, and on a shared machine neighbours take
up to half of one, for seconds. Which thread does a task changes nothing in the result.
"""

from cython.parallel cimport prange

cdef extern from *:
    enum:
        __ATOMIC_RELAXED
    Py_ssize_t __atomic_load_n(Py_ssize_t* place, int order) noexcept nogil
    Py_ssize_t __atomic_fetch_add(Py_ssize_t* place, Py_ssize_t value, int order) noexcept nogil

cdef enum:
    # Threads of larger teams have a share in common.
    MOST_SHARES = 64

cdef struct Share:
    Py_ssize_t next
    Py_ssize_t end
    Py_ssize_t padding[14]  # 128 bytes in all: no line, nor its neighbour, is another's

cdef struct Team:
    Task run
    const void* context
    Share shares[MOST_SHARES]
    int share_count
    bint helps


cdef Py_ssize_t next_task(Team* team, int own) noexcept nogil:
    """A task that nobody has taken, first of one's own share; -1 when there is none."""
    cdef Py_ssize_t task
    cdef int i
    cdef Share* share
    for i in range(team.share_count if team.helps else 1):
        share = &team.shares[(own + i) % team.share_count]
        if __atomic_load_n(&share.next, __ATOMIC_RELAXED) < share.end:
            task = __atomic_fetch_add(&share.next, 1, __ATOMIC_RELAXED)
            if task < share.end:
                return task
    return -1


cdef void run_member(Team* team, int thread, char* workspace) noexcept nogil:
    """What one thread does: its share, then what is left of the others'."""
    cdef int own = thread % team.share_count
    cdef Py_ssize_t task = next_task(team, own)
    while task >= 0:
        team.run(team.context, task, workspace)
        task = next_task(team, own)


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
    for i in range(team.share_count):
        team.shares[i].next = i * tasks // team.share_count
        team.shares[i].end = (i + 1) * tasks // team.share_count
    for thread in prange(threads, schedule="static", num_threads=threads):
        run_member(&team, thread, workspace + thread * workspace_per_thread)
