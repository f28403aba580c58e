"""The optimizer: one pass over the flat buffers of all parameters, gradients and velocities."""

from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastnn._core.simd cimport (
    LANES,
    real,
    v_flush,
    v_load,
    v_load_first,
    v_store,
    v_store_first,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport TASKS_WORTH_HELP, run_tasks

cdef enum:
    # Elements of a partial sum.
    CHUNK = 4096
    # Threads divide a parameter at a multiple of so many elements, a line or two.
    LINE_ELEMENTS = 16
    # So many elements come from beyond the second-level caches, whichever thread updates them: then
    # threads help each other.
    HELP_WORTH_ELEMENTS = 1048576
    # Sums of a norm that run side by side.
    SUMS = 64
    PLAIN = 0
    MOMENTUM = 1
    NESTEROV = 2

# What is the same for all elements of an update.
cdef struct Rates:
    real gradient_scale
    real lr
    real momentum
    real gradient_gain       # 1 - dampening
    real weight_decay

cdef struct Update:
    int kind
    bint first_step
    real* weight
    real* velocity
    const real* gradient
    const int64_t* bounds
    Py_ssize_t parameters
    Py_ssize_t parts
    Rates rates

cdef struct Norm:
    const real* gradient
    Py_ssize_t n
    double* partial          # (chunks,)


cdef inline vreal descend(
    const int kind, vreal weight, vreal* velocity, vreal gradient, const Rates rates,
) noexcept nogil:
    """The new weight, and the new velocity."""
    gradient = rates.gradient_scale * gradient + rates.weight_decay * weight
    if kind != PLAIN:
        # Without a gradient (a dead unit) a velocity would fade into numbers too small to be normal,
        # and stay there: an update by them takes four times as long.
        velocity[0] = v_flush(rates.momentum * velocity[0] + rates.gradient_gain * gradient)
        if kind == NESTEROV:
            gradient = gradient + rates.momentum * velocity[0]
        else:
            gradient = velocity[0]
    return weight - rates.lr * gradient


cdef inline void sgd_of_kind(
    const int kind, real* weight, real* velocity, const real* gradient, const Py_ssize_t n,
    const Rates rates,
) noexcept nogil:
    cdef vreal v
    cdef Py_ssize_t i = 0
    while i + LANES <= n:
        if kind != PLAIN:
            v = v_load(velocity + i)
        v_store(weight + i, descend(kind, v_load(weight + i), &v, v_load(gradient + i), rates))
        if kind != PLAIN:
            v_store(velocity + i, v)
        i += LANES
    if i < n:
        if kind != PLAIN:
            v = v_load_first(velocity + i, n - i)
        v_store_first(weight + i, descend(kind, v_load_first(weight + i, n - i), &v,
                                          v_load_first(gradient + i, n - i), rates), n - i)
        if kind != PLAIN:
            v_store_first(velocity + i, v, n - i)


cdef void sgd_chunk(
    int kind, bint first_step, real* weight, real* velocity, const real* gradient, Py_ssize_t n,
    Rates rates,
) noexcept nogil:
    if kind == PLAIN:
        sgd_of_kind(PLAIN, weight, velocity, gradient, n, rates)
        return
    if first_step:
        memset(velocity, 0, n * sizeof(real))
    if kind == NESTEROV:
        sgd_of_kind(NESTEROV, weight, velocity, gradient, n, rates)
    else:
        sgd_of_kind(MOMENTUM, weight, velocity, gradient, n, rates)


cdef void sgd_part(const void* context, Py_ssize_t part, char* workspace) noexcept nogil:
    """A part of each parameter: for a thread the rows whose gradient it has computed, and reads next.

    Halves of all elements would be other ones, and a line from another core takes as long as many of
    one's own.
    """
    cdef const Update* u = <const Update*>context
    cdef Py_ssize_t i, n, first, last
    for i in range(u.parameters):
        n = u.bounds[i + 1] - u.bounds[i]
        first = start_of_part(part, u.parts, n)
        last = start_of_part(part + 1, u.parts, n)
        if first < last:
            first, last = first + u.bounds[i], last + u.bounds[i]
            sgd_chunk(u.kind, u.first_step, u.weight + first, u.velocity + first if u.kind else NULL,
                      u.gradient + first, last - first, u.rates)


cdef inline Py_ssize_t start_of_part(Py_ssize_t part, Py_ssize_t parts, Py_ssize_t n) noexcept nogil:
    return part * n // parts // LINE_ELEMENTS * LINE_ELEMENTS if part < parts else n


cdef void sgd_update(
    real* weight,                # (n,)
    real* velocity,              # (n,) or NULL: no momentum
    const real* gradient,        # (n,)
    const real* scale,           # (1,) or NULL: a factor of the gradient
    const int64_t* steps_taken,  # (1,) or NULL without velocity
    const int64_t* bounds,       # (parameters + 1,): where each of them begins in n elements
    Py_ssize_t parameters, bint nesterov,
    double lr, double momentum, double dampening, double weight_decay, int threads,
) noexcept nogil:
    """Stochastic gradient descent, as PyTorch defines it.

    g = scale gradient + weight_decay weight
    v = momentum v + (1 - dampening) g, but v = g at the first step
    weight = weight - lr v, or weight - lr (g + momentum v) by Nesterov
    """
    cdef Update u
    cdef Rates* rates = &u.rates
    u.weight, u.velocity, u.gradient = weight, velocity, gradient
    u.bounds, u.parameters, u.parts = bounds, parameters, threads
    u.kind, u.first_step = PLAIN, False
    if threads > 1 and bounds[parameters] >= HELP_WORTH_ELEMENTS:
        u.parts *= TASKS_WORTH_HELP
    rates.gradient_scale = scale[0] if scale != NULL else <real>1
    rates.lr = <real>lr
    rates.momentum = <real>momentum
    rates.gradient_gain = <real>(1 - dampening)
    rates.weight_decay = <real>weight_decay
    # Without momentum there is no velocity, and no dampening either.
    if velocity != NULL and momentum != 0:
        u.kind = NESTEROV if nesterov else MOMENTUM
        u.first_step = steps_taken[0] == 0
        if u.first_step:
            rates.gradient_gain = 1
    run_tasks(sgd_part, &u, u.parts, NULL, 0, threads)


cdef void count_step(int64_t* steps_taken) noexcept nogil:
    """One more step taken."""
    steps_taken[0] += 1


cdef void squared_norm_of_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Norm* norm = <const Norm*>context
    cdef const real* gradient = norm.gradient + chunk * CHUNK
    cdef Py_ssize_t n = min(CHUNK, norm.n - chunk * CHUNK)
    cdef double sums[SUMS]
    cdef double value
    cdef Py_ssize_t i = 0
    cdef int j, half
    for j in range(SUMS):
        sums[j] = 0
    while i + SUMS <= n:
        for j in range(SUMS):
            value = gradient[i + j]
            sums[j] += value * value
        i += SUMS
    for j in range(<int>(n - i)):
        value = gradient[i + j]
        sums[j] += value * value
    half = SUMS // 2
    while half > 0:
        for j in range(half):
            sums[j] += sums[j + half]
        half = half // 2
    norm.partial[chunk] = sums[0]


cdef void squared_norm(
    real* result,                # (1,)
    const real* gradient,        # (n,)
    Py_ssize_t n,
    double* partial,             # (chunks,)
    int threads,
) noexcept nogil:
    """result = the sum of the squares, in double precision"""
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK
    cdef Py_ssize_t chunk
    cdef double total = 0
    cdef Norm norm = Norm(gradient, n, partial)
    run_tasks(squared_norm_of_chunk, &norm, chunks, NULL, 0, threads)
    for chunk in range(chunks):
        total += partial[chunk]
    result[0] = <real>total


cdef void clip_factor(
    real* factor,                # (1,)
    real* norm,                  # (1,)
    const real* squared_norms,   # (k,)
    Py_ssize_t k, double max_norm,
) noexcept nogil:
    """norm = the root of the sum of squared_norms; factor = min(1, max_norm / (norm + 1e-6))"""
    cdef double total = 0
    cdef double root, ratio
    cdef Py_ssize_t i
    for i in range(k):
        total += squared_norms[i]
    root = sqrt(total)
    ratio = max_norm / (root + 1e-6)
    norm[0] = <real>root
    factor[0] = <real>(1.0 if ratio > 1.0 else ratio)    # NaN is not greater, and stays


cdef void run_sgd_update(const Step* s) noexcept nogil:
    sgd_update(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
               <int64_t*>s.data[4], <int64_t*>s.data[5], s.size[0], s.scalar[4] != 0,
               s.scalar[0], s.scalar[1], s.scalar[2], s.scalar[3], s.threads)


cdef void run_count_step(const Step* s) noexcept nogil:
    count_step(<int64_t*>s.data[0])


cdef void run_squared_norm(const Step* s) noexcept nogil:
    squared_norm(<real*>s.data[0], <real*>s.data[1], s.size[0], <double*>s.workspace, s.threads)


cdef void run_clip_factor(const Step* s) noexcept nogil:
    clip_factor(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], s.size[0], s.scalar[0])


CONSTANTS = {"CHUNK": CHUNK}
KERNELS = {
    "sgd_update": publish(run_sgd_update),
    "count_step": publish(run_count_step),
    "squared_norm": publish(run_squared_norm),
    "clip_factor": publish(run_clip_factor),
}
