"""The machine's peak: nothing but multiply-adds on registers, which no kernel can do faster."""

from cython.parallel cimport prange

from fastnn._core.simd cimport LANES, real, v_load, v_store, vreal
from fastnn._core.step cimport Step, publish

cdef enum:
    # Sums that do not wait for each other: as many as two units with a latency of up to five cycles
    # need, and few enough to lie in 16 registers beside the operands.
    CHAINS = 12


cdef inline void multiply_add_chains(
    real* y,            # (CHAINS, LANES)
    const real* x,      # (CHAINS + 2, LANES): where the sums start, a factor, a term
    Py_ssize_t rounds,
) noexcept nogil:
    """y = y * factor + term, `rounds` times"""
    cdef vreal chain[CHAINS]
    cdef vreal factor = v_load(x + CHAINS * LANES), term = v_load(x + (CHAINS + 1) * LANES)
    cdef Py_ssize_t r
    cdef int k
    for k in range(CHAINS):
        chain[k] = v_load(x + k * LANES)
    for r in range(rounds):  # no-cython-lint
        for k in range(CHAINS):
            chain[k] = chain[k] * factor + term
    for k in range(CHAINS):
        v_store(y + k * LANES, chain[k])


cdef void multiply_adds(
    real* y,                # (threads, CHAINS, LANES)
    double* operations,     # (1,): of all threads
    const real* x,          # (CHAINS + 2, LANES)
    Py_ssize_t rounds, int threads,
) noexcept nogil:
    cdef Py_ssize_t thread
    operations[0] = 2.0 * CHAINS * LANES * rounds * threads
    if threads == 1:
        multiply_add_chains(y, x, rounds)
        return
    for thread in prange(threads, schedule="static", num_threads=threads):
        multiply_add_chains(y + thread * CHAINS * LANES, x, rounds)


cdef void run_multiply_adds(const Step* s) noexcept nogil:
    multiply_adds(<real*>s.data[0], <double*>s.data[1], <real*>s.data[2], s.size[0], s.threads)


KERNELS = {
    "multiply_adds": publish(run_multiply_adds),
}
