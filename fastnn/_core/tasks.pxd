cdef extern from *:
    enum:
        __ATOMIC_RELAXED
    Py_ssize_t __atomic_load_n(Py_ssize_t* place, int order) noexcept nogil
    void __atomic_store_n(Py_ssize_t* place, Py_ssize_t value, int order) noexcept nogil
    Py_ssize_t __atomic_fetch_add(Py_ssize_t* place, Py_ssize_t value, int order) noexcept nogil

cdef enum:
    # Threads help each other where there are that many tasks for each: one of fewer is so much of a
    # share that it does not pay to fetch its data from the cache of the core that has them.
    TASKS_WORTH_HELP = 4
    # More than machines have cores; further threads of a team have nothing to do.
    MOST_SHARES = 256

# Does one task of a job that `context` tells of, in a workspace that no other thread has.
ctypedef void (*Task)(const void* context, Py_ssize_t task, char* workspace) noexcept nogil

cdef void run_tasks(
    Task run, const void* context, Py_ssize_t tasks,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil


cdef inline void add_to_count(Py_ssize_t* total, Py_ssize_t value) noexcept nogil:
    """total += value, from tasks that run at the same time."""
    __atomic_fetch_add(total, value, __ATOMIC_RELAXED)


cdef inline Py_ssize_t start_of_share(Py_ssize_t share, Py_ssize_t tasks, int shares) noexcept nogil:
    return share * tasks // shares


cdef inline Py_ssize_t from_end_of_share(Py_ssize_t task, Py_ssize_t tasks, int threads) noexcept nogil:
    """The task that is as far from the end of a share as `task` is from its beginning."""
    cdef int shares = min(threads, <int>MOST_SHARES)
    cdef Py_ssize_t share = ((task + 1) * shares - 1) // tasks
    return start_of_share(share, tasks, shares) + start_of_share(share + 1, tasks, shares) - 1 - task
