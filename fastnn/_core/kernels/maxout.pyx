"""Maxout: the largest of a unit's pieces.

    x (rows, pieces * units):  │ piece 0: units │ piece 1: units │ ...      y, winner (rows, units)

The rows of y and winner, and those of a piece, end in a vector that overlaps the one before it:
what both hold is computed twice, to the same value, and no lane is handled alone.
"""

from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.simd cimport (
    LANES,
    real,
    v_and_not,
    v_equal,
    v_less_equal,
    v_select,
    v_set,
    vmask,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Elements of x in a piece of work.
    CHUNK = 8192

cdef struct Job:
    real* out            # y, or backward dx
    real* winner         # backward it is read
    const real* inputs   # x, or backward dy
    Py_ssize_t rows
    Py_ssize_t units
    Py_ssize_t pieces
    Py_ssize_t height    # of a chunk, in rows


cdef inline void largest_of_units(
    real* y, real* winner, const real* x, const Py_ssize_t units, const Py_ssize_t pieces,
    const Py_ssize_t count,
) noexcept nogil:
    """`count` consecutive units: LANES, a literal, wherever the row is long enough."""
    cdef vreal best = load_lanes(x, count)
    cdef vreal best_piece = v_set(0)
    cdef vreal value
    cdef vmask better
    cdef Py_ssize_t piece
    for piece in range(1, pieces):
        value = load_lanes(x + piece * units, count)
        # Larger or NaN, and no NaN before it: the first NaN wins, as the first of equals does.
        better = v_and_not(v_equal(best, best), v_less_equal(value, best))
        best = v_select(better, value, best)
        best_piece = v_select(better, v_set(<real>piece), best_piece)
    store_lanes(y, best, count)
    store_lanes(winner, best_piece, count)


cdef inline void gradient_of_units(
    real* dx, const real* dy, const real* winner, const Py_ssize_t units, const Py_ssize_t pieces,
    const Py_ssize_t count,
) noexcept nogil:
    """`count` consecutive units: LANES, a literal, wherever the row is long enough."""
    cdef vreal gradient = load_lanes(dy, count)
    cdef vreal best_piece = load_lanes(winner, count)
    cdef Py_ssize_t piece
    for piece in range(pieces):
        store_lanes(dx + piece * units,
                    v_select(v_equal(best_piece, v_set(<real>piece)), gradient, v_set(0)), count)


cdef void forward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * job.height, units = job.units, pieces = job.pieces, row, unit
    cdef real* y = job.out + first * units
    cdef real* winner = job.winner + first * units
    cdef const real* x = job.inputs + first * pieces * units
    for row in range(min(job.height, job.rows - first)):  # no-cython-lint
        unit = 0
        while unit + LANES <= units:
            largest_of_units(y + unit, winner + unit, x + unit, units, pieces, LANES)
            unit += LANES
        if units < LANES:
            largest_of_units(y, winner, x, units, pieces, units)
        elif unit < units:
            unit = units - LANES
            largest_of_units(y + unit, winner + unit, x + unit, units, pieces, LANES)
        y += units
        winner += units
        x += pieces * units


cdef void backward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef Py_ssize_t first = chunk * job.height, units = job.units, pieces = job.pieces, row, unit
    cdef real* dx = job.out + first * pieces * units
    cdef const real* dy = job.inputs + first * units
    cdef const real* winner = job.winner + first * units
    for row in range(min(job.height, job.rows - first)):  # no-cython-lint
        unit = 0
        while unit + LANES <= units:
            gradient_of_units(dx + unit, dy + unit, winner + unit, units, pieces, LANES)
            unit += LANES
        if units < LANES:
            gradient_of_units(dx, dy, winner, units, pieces, units)
        elif unit < units:
            unit = units - LANES
            gradient_of_units(dx + unit, dy + unit, winner + unit, units, pieces, LANES)
        dx += pieces * units
        dy += units
        winner += units


cdef inline Py_ssize_t rows_of_chunk(Py_ssize_t units, Py_ssize_t pieces) noexcept nogil:
    return max(1, CHUNK // (units * pieces))


cdef void maxout_forward(
    real* y,             # (rows, units)
    real* winner,        # (rows, units): the number of the piece that y is
    const real* x,       # (rows, pieces * units)
    Py_ssize_t rows, Py_ssize_t units, Py_ssize_t pieces, int threads,
) noexcept nogil:
    """y = the maximum over the pieces of x, NaN if one is; the first of equals wins"""
    cdef Job job = Job(y, winner, x, rows, units, pieces, rows_of_chunk(units, pieces))
    run_tasks(forward_chunk, &job, (rows + job.height - 1) // job.height, NULL, 0, threads)


cdef void maxout_backward(
    real* dx,            # (rows, pieces * units)
    const real* dy,      # (rows, units)
    const real* winner,  # (rows, units)
    Py_ssize_t rows, Py_ssize_t units, Py_ssize_t pieces, int threads,
) noexcept nogil:
    """dx = dy in the piece that won, else 0"""
    cdef Job job = Job(dx, <real*>winner, dy, rows, units, pieces, rows_of_chunk(units, pieces))
    run_tasks(backward_chunk, &job, (rows + job.height - 1) // job.height, NULL, 0, threads)


cdef void run_maxout_forward(const Step* s) noexcept nogil:
    maxout_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                   s.size[0], s.size[1], s.size[2], s.threads)


cdef void run_maxout_backward(const Step* s) noexcept nogil:
    maxout_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                    s.size[0], s.size[1], s.size[2], s.threads)


KERNELS = {
    "maxout_forward": publish(run_maxout_forward),
    "maxout_backward": publish(run_maxout_backward),
}
