"""The machine's peak: nothing but multiply-adds on registers, which no kernel can do faster."""

from fastnn._core.simd cimport LANES, real, v_load, v_store, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Sums that do not wait for each other: as many as two units with a latency of up to five cycles
    # need, and few enough to lie in 16 registers beside the operands.
    CHAINS = 12
    # Pieces of a thread's work, which others take over where a core is slower.
    PIECES = 16

cdef struct Chains:
    const real* x        # (CHAINS + 2, LANES): where the sums start, a factor, a term
    Py_ssize_t rounds    # of a piece


cdef void multiply_add_chains(const void* context, Py_ssize_t piece, char* y) noexcept nogil:
    """y (CHAINS, LANES) = y * factor + term, `rounds` times"""
    cdef const Chains* chains = <const Chains*>context
    cdef const real* x = chains.x
    cdef vreal chain[CHAINS]
    cdef vreal factor = v_load(x + CHAINS * LANES), term = v_load(x + (CHAINS + 1) * LANES)
    cdef Py_ssize_t r
    cdef int k
    for k in range(CHAINS):
        chain[k] = v_load(x + k * LANES)
    for r in range(chains.rounds):  # no-cython-lint
        for k in range(CHAINS):
            chain[k] = chain[k] * factor + term
    for k in range(CHAINS):
        v_store(<real*>y + k * LANES, chain[k])


cdef void multiply_adds(
    real* y,                # (threads, CHAINS, LANES)
    double* operations,     # (1,): of all threads
    const real* x,          # (CHAINS + 2, LANES)
    Py_ssize_t rounds, int threads,
) noexcept nogil:
    cdef Chains chains = Chains(x, (rounds + PIECES - 1) // PIECES)
    operations[0] = 2.0 * CHAINS * LANES * chains.rounds * PIECES * threads
    run_tasks(multiply_add_chains, &chains, PIECES * threads,
              <char*>y, CHAINS * LANES * sizeof(real), threads)


cdef void run_multiply_adds(const Step* s) noexcept nogil:
    multiply_adds(<real*>s.data[0], <double*>s.data[1], <real*>s.data[2], s.size[0], s.threads)


KERNELS = {
    "multiply_adds": publish(run_multiply_adds),
}
