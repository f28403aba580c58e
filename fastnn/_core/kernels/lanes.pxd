"""Whole vectors, or their first lanes where a row ends: for kernels whose vectors are channels.

The branch nearly always goes one way, and goes away where `count` is a literal; loading some lanes
alone is slow on older machines.

Rows of pooling and maxout go in three calls: whole vectors, a row shorter than one, and a last
vector that overlaps the one before it. Each is inlined with a `count` of its own; with two calls,
their counts or places computed, pooling takes up to a fifth longer.
"""

from fastnn._core.simd cimport LANES, real, v_load, v_load_first, v_store, v_store_first, vreal


cdef inline vreal load_lanes(const real* p, const Py_ssize_t count) noexcept nogil:
    if count == LANES:
        return v_load(p)
    return v_load_first(p, count)


cdef inline void store_lanes(real* p, vreal v, const Py_ssize_t count) noexcept nogil:
    if count == LANES:
        v_store(p, v)
    else:
        v_store_first(p, v, count)
