cdef enum:
    # Threads help each other where there are that many tasks for each: one of fewer is so much of a
    # share that it does not pay to fetch its data from the cache of the core that has them.
    TASKS_WORTH_HELP = 4

# Does one task of a job that `context` tells of, in a workspace that no other thread has.
ctypedef void (*Task)(const void* context, Py_ssize_t task, char* workspace) noexcept nogil

cdef void run_tasks(
    Task run, const void* context, Py_ssize_t tasks,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil
