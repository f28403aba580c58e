"""The vector types of simd.h as Cython sees them.

`real` is float or double and `vreal` float or double vectors of LANES of them: the C compiler
decides by the build, so that one source serves both precisions and every instruction set.
Cython is told "float"; it only passes the names on.
"""

from libc.stdint cimport uint16_t

cdef extern from "simd.h" nogil:
    ctypedef float real
    ctypedef float vreal
    ctypedef int vmask
    enum:
        LANES
        TILE_ROWS
        TILE_VECTORS
        VECTOR_BYTES
    vreal v_load(const real* p)
    void v_store(real* p, vreal v)
    vreal v_set(real x)
    void v_stream(real* p, vreal v)
    void v_end_stream()
    void v_prefetch(const void* p)
    void v_prefetch_to_write(void* p)
    void v_prefetch_to_second_cache(const void* p)
    vreal v_load_first(const real* p, Py_ssize_t count)
    void v_store_first(real* p, vreal v, Py_ssize_t count)
    vreal v_load_strided(const real* p, Py_ssize_t stride, Py_ssize_t count)
    void v_store_strided(real* p, vreal v, Py_ssize_t stride, Py_ssize_t count)
    vmask v_less(vreal a, vreal b)
    vmask v_less_equal(vreal a, vreal b)
    vmask v_equal(vreal a, vreal b)
    vmask v_and_not(vmask a, vmask b)
    vmask v_or(vmask a, vmask b)
    vreal v_select(vmask mask, vreal a, vreal b)
    vreal v_select_not_positive(vreal x, vreal a, vreal b)
    vreal v_zero_where(vmask mask, vreal v)
    vreal v_max(vreal a, vreal b)
    vreal v_at_least(vreal v, real limit)
    vreal v_at_most(vreal v, real limit)
    vmask v_set_whole(Py_ssize_t n)
    vmask v_same(vmask a, vmask b)
    vmask v_select_whole(vmask mask, vmask a, vmask b)
    vmask v_load_short(const uint16_t* p)
    vmask v_load_first_short(const uint16_t* p, Py_ssize_t count)
    void v_store_short(uint16_t* p, vmask v)
    void v_store_first_short(uint16_t* p, vmask v, Py_ssize_t count)
    vreal v_abs(vreal v)
    vreal v_copy_sign(vreal magnitude, vreal sign_of)
    vreal v_sqrt(vreal v)
    vreal v_round(vreal v)
    vreal v_scale_by_power(vreal v, vreal n)
    vreal v_flush(vreal v)
    real v_sum(vreal v)
    real v_largest(vreal v)
    vreal v_interleave_low(vreal a, vreal b)
    vreal v_interleave_high(vreal a, vreal b)
    vreal v_mantissa(vreal x)
    vreal v_exponent(vreal x)
    vreal v_interleave_three(vreal a, vreal b, vreal c, const int part)
    vreal v_pick(vreal a, vreal b, vmask lanes)
    vreal v_every_third(vreal a, vreal b, vreal c, const int part)
