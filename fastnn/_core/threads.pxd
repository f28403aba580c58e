cdef int team_size()
cdef int fork_count() noexcept
