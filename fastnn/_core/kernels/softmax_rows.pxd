"""The softmax of rows, inlined into the kernels that need one.

    exp(x - maximum) / total,    total = sum of exp(x - maximum)

Long rows are taken one at a time, along the row. Sums and maxima over the lanes of a vector would
be most of the work of a short row, so that of those LANES rows are taken at once, each column a
vector: nothing is ever summed over lanes.
"""

from fastnn._core.kernels.vector_math cimport artanh_series, v_exp
from fastnn._core.simd cimport (
    LANES,
    real,
    v_equal,
    v_largest,
    v_less,
    v_load,
    v_load_first,
    v_load_strided,
    v_max,
    v_select,
    v_set,
    v_store,
    v_store_first,
    v_store_strided,
    v_sum,
    vmask,
    vreal,
)
from libc.math cimport INFINITY

cdef enum:
    # The longest row that counts as short. v_log_of_total relies on it.
    FEW_COLUMNS = 16
    # Elements of a piece of work: 16 KB of each operand in float, which stay in L1.
    CHUNK = 4096
    SUM_VECTORS = 16           # a power of two, as LANES is


cdef inline Py_ssize_t rows_of_chunk(const Py_ssize_t columns) noexcept nogil:
    """How many rows make a piece of work; whole blocks of LANES where rows are short."""
    return max(1, CHUNK // max(columns, FEW_COLUMNS))


cdef inline vmask lanes_from(const Py_ssize_t count) noexcept nogil:
    """True in the lanes from `count` on: those that v_load_first leaves out."""
    cdef vreal ones = v_set(1)
    return v_equal(v_load_first(<const real*>&ones, count), v_set(0))


cdef inline vreal load_first_logits(const real* x, const Py_ssize_t count) noexcept nogil:
    """The first `count` lanes, and -inf in the rest: no maximum, and zero by exp."""
    return v_select(lanes_from(count), v_set(-INFINITY), v_load_first(x, count))


# Long rows


cdef inline real row_maximum(const real* x, const Py_ssize_t n) noexcept nogil:
    """NaN if any element is."""
    cdef vreal maximum = v_set(-INFINITY)
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        maximum = v_max(maximum, v_load(x + i))
        i += LANES
    if i < n:
        maximum = v_max(maximum, load_first_logits(x + i, n - i))
    return v_largest(maximum)


cdef inline real row_exponentials(
    real* y, const real* x, const Py_ssize_t n, const real maximum,
) noexcept nogil:
    """y (n,) = exp(x (n,) - maximum), unless y is NULL; returns their sum. y may be x.

    The sum is of sums of SUM_VECTORS: added to one total one after another, a thousand columns would
    lose several digits of the last place where vectors are short.
    """
    cdef vreal total = v_set(0), part = v_set(0), exponential
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        exponential = v_exp(v_load(x + i) - maximum)
        part += exponential
        if y != NULL:
            v_store(y + i, exponential)
        i += LANES
        if i & (SUM_VECTORS * LANES - 1) == 0:
            total += part
            part = v_set(0)
    total += part
    if i < n:
        exponential = v_exp(load_first_logits(x + i, n - i) - maximum)
        total += exponential
        if y != NULL:
            v_store_first(y + i, exponential, n - i)
    return v_sum(total)


cdef inline void rescale_row(
    real* y, const real* x, const Py_ssize_t n,
    const real shift, const real factor, const real term,
) noexcept nogil:
    """y (n,) = (x (n,) - shift) * factor + term; y may be x."""
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        v_store(y + i, (v_load(x + i) - shift) * factor + term)
        i += LANES
    if i < n:
        v_store_first(y + i, (v_load_first(x + i, n - i) - shift) * factor + term, n - i)


cdef inline bint is_first_maximum(
    const real* x, const Py_ssize_t index, const real maximum,
) noexcept nogil:
    """Whether x[index], and none before it, is the row's maximum; false if that is NaN."""
    cdef vreal ties = v_set(0)
    cdef Py_ssize_t i = 0
    if not x[index] == maximum:
        return False
    while i + LANES <= index:
        ties += v_select(v_equal(v_load(x + i), v_set(maximum)), v_set(1), v_set(0))
        i += LANES
    if i < index:
        ties += v_select(v_equal(load_first_logits(x + i, index - i), v_set(maximum)),
                         v_set(1), v_set(0))
    return v_sum(ties) == 0


# Short rows


cdef inline void load_columns(
    vreal* column, const real* x, const Py_ssize_t rows, const Py_ssize_t columns,
) noexcept nogil:
    """Lane i of column[j] = x (rows, columns) at [i, j]; zero in the lanes from `rows` on."""
    cdef Py_ssize_t j
    for j in range(columns):
        column[j] = v_load_strided(x + j, columns, rows)


cdef inline void store_columns(
    real* y, const vreal* column, const Py_ssize_t rows, const Py_ssize_t columns,
) noexcept nogil:
    """y (rows, columns) at [i, j] = lane i of column[j]"""
    cdef Py_ssize_t j
    for j in range(columns):
        v_store_strided(y + j, column[j], columns, rows)


cdef inline void subtract_maximum(vreal* column, const Py_ssize_t columns) noexcept nogil:
    """column -= the maximum of all columns, which is NaN where any element is."""
    cdef vreal maximum = column[0]
    cdef Py_ssize_t j
    for j in range(1, columns):
        maximum = v_max(maximum, column[j])
    for j in range(columns):
        column[j] -= maximum


cdef inline vreal column_exponentials(
    vreal* exponential, const vreal* column, const Py_ssize_t columns,
) noexcept nogil:
    """exponential = exp(column); returns the sum of all columns."""
    cdef vreal total = v_set(0)
    cdef Py_ssize_t j
    for j in range(columns):
        exponential[j] = v_exp(column[j])
        total += exponential[j]
    return total


cdef inline vreal v_log_near_one(vreal f) noexcept nogil:
    """log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)].

    With s = f / (2 + f) it is 2 artanh(s) = 2 s + s z p, and 2 s = f - s f, whose largest term is
    exact.
    """
    cdef vreal s = f / (2 + f)
    cdef vreal z = s * s
    return f - s * (f - artanh_series(z) * z)


cdef inline vreal v_log_of_total(vreal total) noexcept nogil:
    """log(total) for totals of a softmax of at most FEW_COLUMNS = 2^4, which are in [1, 16]."""
    cdef vreal power = v_set(0)
    cdef vmask large
    cdef int i
    for i in range(4):  # no-cython-lint
        large = v_less(v_set(<real>1.41421356237309504880), total)
        total = v_select(large, total * <real>0.5, total)
        power += v_select(large, v_set(1), v_set(0))
    return power * <real>0.693147180559945309417 + v_log_near_one(total - 1)
