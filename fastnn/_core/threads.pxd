cdef int team_size()
