"""Losses but cross-entropy, and their gradients, with PyTorch's weights and reductions.

A row, or a chunk of elements, is computed by one thread; their losses are added up in order and in
double, so that the sum is the same at any number of threads. `upstream` is the gradient of what
the loss is reduced to: one number, or one for each row or element where it is not reduced.
"""

from fastnn._core.kernels.reduction cimport MEAN, NONE, SUM
from fastnn._core.kernels.softmax_rows cimport FEW_COLUMNS, is_first_maximum, row_maximum
from fastnn._core.simd cimport (
    LANES,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    v_sum,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks
from libc.math cimport exp, fabs, log1p
from libc.stdint cimport int64_t

cdef enum:
    # Elements that one partial sum stands for.
    CHUNK = 4096


cdef inline real largest_of(const real* x, const Py_ssize_t n) noexcept nogil:
    """NaN if any element is. A few elements are not worth a vector."""
    cdef real largest = x[0]
    cdef Py_ssize_t j
    if n > FEW_COLUMNS:
        return row_maximum(x, n)
    for j in range(1, n):
        largest = largest if largest >= x[j] or largest != largest else x[j]
    return largest


cdef inline void count_row(
    double* correct, const real* scores, const int64_t label, const Py_ssize_t classes,
) noexcept nogil:
    """Adds one if the first of the largest scores is the label's."""
    if is_first_maximum(scores, label, largest_of(scores, classes)):
        correct[0] += 1


# Multi-class hinge


cdef void multi_margin_forward(
    real* loss,                  # (1,) or NULL
    real* row_losses,            # (rows,)
    real* statistics,            # (4,): sum of losses, rows, correct rows, rows
    const real* scores,          # (rows, classes)
    const int64_t* labels,       # (rows,)
    const real* class_weight,    # (classes,) or NULL
    Py_ssize_t rows, Py_ssize_t classes, int reduction, int power, double margin,
) noexcept nogil:
    """w[label] * the sum over j != label of max(0, margin - x[label] + x[j])^power / classes"""
    cdef Py_ssize_t row, j
    cdef double total = 0, correct = 0, row_loss, z
    cdef const real* x
    for row in range(rows):
        x = scores + row * classes
        row_loss = 0
        for j in range(classes):
            z = margin - x[labels[row]] + x[j]
            if j != labels[row] and not z <= 0:    # so that NaN counts
                row_loss += z if power == 1 else z * z
        row_loss /= classes
        if class_weight != NULL:
            row_loss *= class_weight[labels[row]]
        row_losses[row] = <real>row_loss
        total += row_loss
        count_row(&correct, x, labels[row], classes)
    if reduction != NONE:
        loss[0] = <real>(total / rows if reduction == MEAN else total)
    statistics[0] = <real>total
    statistics[1] = rows
    statistics[2] = <real>correct
    statistics[3] = rows


cdef void multi_margin_backward(
    real* dscores,               # (rows, classes)
    const real* upstream,        # (1,) or (rows,)
    const real* scores,          # (rows, classes)
    const int64_t* labels,       # (rows,)
    const real* class_weight,    # (classes,) or NULL
    Py_ssize_t rows, Py_ssize_t classes, int reduction, int power, double margin,
) noexcept nogil:
    cdef Py_ssize_t row, j
    cdef double scale, z, gradient, total
    cdef const real* x
    for row in range(rows):
        x = scores + row * classes
        scale = upstream[row if reduction == NONE else 0] / <double>classes
        if reduction == MEAN:
            scale /= rows
        if class_weight != NULL:
            scale *= class_weight[labels[row]]
        total = 0
        for j in range(classes):
            z = margin - x[labels[row]] + x[j]
            gradient = 0
            if j != labels[row] and not z <= 0:
                gradient = scale if power == 1 else 2 * scale * z
            dscores[row * classes + j] = <real>gradient
            total += gradient
        dscores[row * classes + labels[row]] = <real>-total


# Losses of elements


cdef struct Losses:
    real* elementwise            # (rows, columns) or NULL
    real* partials               # of rows, or of chunks
    const real* x                # (rows, columns)
    const real* target           # (rows, columns)
    const real* weight           # (columns,) or NULL
    const real* pos_weight       # (columns,) or NULL
    Py_ssize_t columns           # where there are no rows, all elements

cdef struct Slopes:
    real* dx                     # (rows, columns)
    const real* upstream         # (1,) or (rows, columns)
    const real* x                # (rows, columns)
    const real* target           # (rows, columns)
    const real* weight           # (columns,) or NULL
    const real* pos_weight       # (columns,) or NULL
    Py_ssize_t columns           # where there are no rows, all elements
    double scale
    int reduction


cdef real reduced(const real* partials, Py_ssize_t count, double n, int reduction) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(count):
        total += partials[i]
    return <real>(total / n if reduction == MEAN else total)


cdef void squared_errors(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    """The sum of the squared errors of a chunk; each of them unless `elementwise` is NULL"""
    cdef const Losses* job = <const Losses*>context
    cdef real* elementwise = job.elementwise
    cdef const real* x = job.x
    cdef const real* target = job.target
    cdef vreal total = v_set(0), error
    cdef Py_ssize_t i = chunk * CHUNK, n = min(job.columns, i + CHUNK)
    while i + LANES <= n:
        error = v_load(x + i) - v_load(target + i)
        total += error * error
        if elementwise != NULL:
            v_store(elementwise + i, error * error)
        i += LANES
    if i < n:
        error = v_load_first(x + i, n - i) - v_load_first(target + i, n - i)
        total += error * error
        if elementwise != NULL:
            v_store_first(elementwise + i, error * error, n - i)
    job.partials[chunk] = v_sum(total)


cdef void squared_error_forward(
    real* loss,                  # (1,) or NULL
    real* elementwise,           # (n,) or NULL
    real* partials,              # (chunks,)
    const real* x,               # (n,)
    const real* target,          # (n,)
    Py_ssize_t n, int reduction, int threads,
) noexcept nogil:
    """(x - target)^2"""
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK
    cdef Losses job = Losses(elementwise, partials, x, target, NULL, NULL, n)
    run_tasks(squared_errors, &job, chunks, NULL, 0, threads)
    if reduction != NONE:
        loss[0] = reduced(partials, chunks, n, reduction)


cdef void squared_error_slopes(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    """The gradient of a chunk"""
    cdef const Slopes* job = <const Slopes*>context
    cdef real* dx = job.dx
    cdef const real* upstream = job.upstream
    cdef const real* x = job.x
    cdef const real* target = job.target
    cdef real scale = <real>job.scale
    cdef int reduction = job.reduction
    cdef Py_ssize_t i
    for i in range(chunk * CHUNK, min(job.columns, (chunk + 1) * CHUNK)):
        dx[i] = scale * (x[i] - target[i]) * (upstream[i] if reduction == NONE else 1)


cdef void squared_error_backward(
    real* dx,                    # (n,)
    const real* upstream,        # (1,) or (n,)
    const real* x,               # (n,)
    const real* target,          # (n,)
    Py_ssize_t n, int reduction, int threads,
) noexcept nogil:
    """2 (x - target), scaled"""
    cdef Slopes job
    cdef real scale = 2
    if reduction != NONE:
        scale = 2 * upstream[0]
    if reduction == MEAN:
        scale = scale / n
    job = Slopes(dx, upstream, x, target, NULL, NULL, n, scale, reduction)
    run_tasks(squared_error_slopes, &job, (n + CHUNK - 1) // CHUNK, NULL, 0, threads)


cdef inline double binary_loss(
    const double x, const double t, const double weight, const double positive,
) noexcept nogil:
    """weight [(1 - t) x + (1 + (positive - 1) t) log(1 + exp(-x))], without overflow"""
    return weight * ((1 - t) * x + (1 + (positive - 1) * t)
                     * (log1p(exp(-fabs(x))) + (-x if x < 0 else 0)))


cdef void binary_cross_entropy_forward(
    real* loss,                  # (1,) or NULL
    real* elementwise,           # (rows, columns) or NULL
    real* partials,              # (rows,)
    const real* x,               # (rows, columns)
    const real* target,          # (rows, columns)
    const real* weight,          # (columns,) or NULL
    const real* pos_weight,      # (columns,) or NULL
    Py_ssize_t rows, Py_ssize_t columns, int reduction, int threads,
) noexcept nogil:
    cdef Losses job = Losses(elementwise, partials, x, target, weight, pos_weight, columns)
    run_tasks(binary_cross_entropy_row, &job, rows, NULL, 0, threads)
    if reduction != NONE:
        loss[0] = reduced(partials, rows, <double>rows * columns, reduction)


cdef void binary_cross_entropy_row(const void* context, Py_ssize_t row, char* workspace) noexcept nogil:
    cdef const Losses* job = <const Losses*>context
    cdef double value, row_total = 0
    cdef Py_ssize_t i, j
    for j in range(job.columns):
        i = row * job.columns + j
        value = binary_loss(job.x[i], job.target[i], 1 if job.weight == NULL else job.weight[j],
                            1 if job.pos_weight == NULL else job.pos_weight[j])
        row_total += value
        if job.elementwise != NULL:
            job.elementwise[i] = <real>value
    job.partials[row] = <real>row_total


cdef void binary_cross_entropy_slopes(
    const void* context, Py_ssize_t row, char* workspace,
) noexcept nogil:
    """The gradient of one row"""
    cdef const Slopes* job = <const Slopes*>context
    cdef Py_ssize_t i, j
    cdef double decay, positive, t
    for j in range(job.columns):
        i = row * job.columns + j
        t = job.target[i]
        positive = 1 if job.pos_weight == NULL else job.pos_weight[j]
        decay = 1 / (1 + exp(job.x[i]))
        job.dx[i] = <real>(job.scale * (1 if job.weight == NULL else job.weight[j])
                           * ((1 - t) - (1 + (positive - 1) * t) * decay)
                           * (job.upstream[i] if job.reduction == NONE else 1))


cdef void binary_cross_entropy_backward(
    real* dx,                    # (rows, columns)
    const real* upstream,        # (1,) or (rows, columns)
    const real* x,               # (rows, columns)
    const real* target,          # (rows, columns)
    const real* weight,          # (columns,) or NULL
    const real* pos_weight,      # (columns,) or NULL
    Py_ssize_t rows, Py_ssize_t columns, int reduction, int threads,
) noexcept nogil:
    """weight [(1 - t) - (1 + (positive - 1) t) sigmoid(-x)], scaled"""
    cdef Slopes job = Slopes(dx, upstream, x, target, weight, pos_weight, columns, 1, reduction)
    if reduction != NONE:
        job.scale = upstream[0]
    if reduction == MEAN:
        job.scale /= <double>rows * columns
    run_tasks(binary_cross_entropy_slopes, &job, rows, NULL, 0, threads)


cdef void run_multi_margin_forward(const Step* s) noexcept nogil:
    multi_margin_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                         <int64_t*>s.data[4], <real*>s.data[5],
                         s.size[0], s.size[1], <int>s.size[2], <int>s.size[3], s.scalar[0])


cdef void run_multi_margin_backward(const Step* s) noexcept nogil:
    multi_margin_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                          <int64_t*>s.data[3], <real*>s.data[4],
                          s.size[0], s.size[1], <int>s.size[2], <int>s.size[3], s.scalar[0])


cdef void run_squared_error_forward(const Step* s) noexcept nogil:
    squared_error_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                          <real*>s.data[4], s.size[0], <int>s.size[1], s.threads)


cdef void run_squared_error_backward(const Step* s) noexcept nogil:
    squared_error_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                           s.size[0], <int>s.size[1], s.threads)


cdef void run_binary_cross_entropy_forward(const Step* s) noexcept nogil:
    binary_cross_entropy_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                                 <real*>s.data[3], <real*>s.data[4], <real*>s.data[5],
                                 <real*>s.data[6], s.size[0], s.size[1], <int>s.size[2], s.threads)


cdef void run_binary_cross_entropy_backward(const Step* s) noexcept nogil:
    binary_cross_entropy_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                                  <real*>s.data[3], <real*>s.data[4], <real*>s.data[5],
                                  s.size[0], s.size[1], <int>s.size[2], s.threads)


CONSTANTS = {"CHUNK": CHUNK, "MEAN": MEAN, "SUM": SUM, "NONE": NONE}
KERNELS = {
    "multi_margin_forward": publish(run_multi_margin_forward),
    "multi_margin_backward": publish(run_multi_margin_backward),
    "squared_error_forward": publish(run_squared_error_forward),
    "squared_error_backward": publish(run_squared_error_backward),
    "binary_cross_entropy_forward": publish(run_binary_cross_entropy_forward),
    "binary_cross_entropy_backward": publish(run_binary_cross_entropy_backward),
}
