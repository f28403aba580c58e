"""Softmax cross-entropy and its gradient, with PyTorch's weights, smoothing and reductions.

Rows of few classes are taken LANES at a time, each class a vector (softmax_rows.pxd): the loss, the
label's logit and whether the row is right come out of comparisons, with no sum over lanes. Long rows
are taken one by one.

Rows are split over threads; their losses are added up in order and in double, and what is counted
are whole numbers: the results are the same at any number of threads. `upstream` is the gradient of
what the loss is reduced to: one number, or one for each row where it is not reduced.
"""

from fastnn._core.kernels.reduction cimport MEAN, NONE
from fastnn._core.kernels.softmax_rows cimport (
    FEW_COLUMNS,
    column_exponentials,
    is_first_maximum,
    load_columns,
    rescale_row,
    row_exponentials,
    row_maximum,
    rows_of_chunk,
    store_columns,
    subtract_maximum,
    v_log_of_total,
)
from fastnn._core.simd cimport (
    LANES,
    real,
    v_equal,
    v_load,
    v_select,
    v_set,
    v_store_first,
    v_sum,
    v_zero_where,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport add_to_count, run_tasks
from libc.math cimport log
from libc.stdint cimport int64_t

cdef enum:
    IGNORED = -1      # in the place of a label
    NOT_A_NUMBER = -2     # in the place of the predicted class

cdef struct CrossEntropy:
    Py_ssize_t rows
    Py_ssize_t classes
    Py_ssize_t height            # of a chunk, in rows
    int64_t ignore_index
    real smoothing
    real* row_losses             # (rows,)
    real* probabilities          # (rows, classes)
    const real* logits           # (rows, classes)
    const int64_t* labels        # (rows,)
    const real* class_weight     # (classes,) or NULL
    Py_ssize_t* correct          # the count of all chunks


cdef inline vreal load_labels(const CrossEntropy* c, Py_ssize_t row, Py_ssize_t count) noexcept nogil:
    """Labels as numbers, IGNORED where they are or from `count` on"""
    cdef real label[16]
    cdef Py_ssize_t i
    for i in range(LANES):
        label[i] = IGNORED
    for i in range(count):
        if c.labels[row + i] != c.ignore_index:
            label[i] = <real>c.labels[row + i]
    return v_load(label)


cdef inline Py_ssize_t short_rows(const CrossEntropy* c, Py_ssize_t row, Py_ssize_t count) noexcept nogil:
    """At most LANES rows of at most FEW_COLUMNS classes; returns how many are predicted right."""
    cdef vreal column[FEW_COLUMNS]
    cdef vreal exponential[FEW_COLUMNS]
    cdef vreal label = load_labels(c, row, count)
    cdef vreal chosen = v_set(0), weight = v_set(1), predicted = v_set(NOT_A_NUMBER)
    cdef vreal total, scale, log_total, loss
    cdef real kept = <real>1 - c.smoothing, share
    cdef Py_ssize_t j
    load_columns(column, c.logits + row * c.classes, count, c.classes)
    subtract_maximum(column, c.classes)
    total = column_exponentials(exponential, column, c.classes)
    scale = 1 / total
    for j in range(c.classes):
        exponential[j] *= scale
    store_columns(c.probabilities + row * c.classes, exponential, count, c.classes)
    log_total = v_log_of_total(total)
    # Downwards, so that of several largest the first is the predicted one.
    for j in range(c.classes - 1, -1, -1):
        predicted = v_select(v_equal(column[j], v_set(0)), v_set(<real>j), predicted)
        chosen = v_select(v_equal(label, v_set(<real>j)), column[j], chosen)
        if c.class_weight != NULL:
            weight = v_select(v_equal(label, v_set(<real>j)), v_set(c.class_weight[j]), weight)
    loss = weight * (log_total - chosen) * kept
    if c.smoothing != 0:
        for j in range(c.classes):
            share = c.smoothing / <real>c.classes
            if c.class_weight != NULL:
                share *= c.class_weight[j]
            loss += (log_total - column[j]) * share
    v_store_first(c.row_losses + row, v_zero_where(v_equal(label, v_set(IGNORED)), loss), count)
    return <Py_ssize_t>v_sum(v_select(v_equal(predicted, label), v_set(1), v_set(0)))


cdef inline Py_ssize_t long_row(const CrossEntropy* c, Py_ssize_t row) noexcept nogil:
    """Returns 1 if the row is predicted right."""
    cdef const real* z = c.logits + row * c.classes
    cdef real* p = c.probabilities + row * c.classes
    cdef int64_t label = c.labels[row]
    cdef real largest = row_maximum(z, c.classes)
    cdef real total = row_exponentials(p, z, c.classes, largest)
    cdef double log_total = log(total), loss, others = 0
    cdef Py_ssize_t j
    rescale_row(p, p, c.classes, 0, 1 / total, 0)
    if label == c.ignore_index:
        c.row_losses[row] = 0
        return 0
    loss = (1 - <double>c.smoothing) * ((<double>largest - z[label]) + log_total)
    if c.class_weight != NULL:
        loss *= c.class_weight[label]
    if c.smoothing != 0:
        for j in range(c.classes):
            others += (<double>largest + log_total - z[j]) * (
                1 if c.class_weight == NULL else c.class_weight[j])
        loss += c.smoothing / <double>c.classes * others
    c.row_losses[row] = <real>loss
    return is_first_maximum(z, label, largest)


cdef void forward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const CrossEntropy* c = <const CrossEntropy*>context
    cdef Py_ssize_t row = chunk * c.height, last = min(c.rows, row + c.height), correct = 0
    if c.classes > FEW_COLUMNS:
        for row in range(row, last):
            correct += long_row(c, row)
    else:
        while row < last:
            correct += short_rows(c, row, min(<Py_ssize_t>LANES, last - row))
            row += LANES
    add_to_count(c.correct, correct)


cdef void cross_entropy_forward(
    real* loss,                  # (1,) or NULL where it is not reduced
    real* row_losses,            # (rows,)
    real* probabilities,         # (rows, classes)
    real* statistics,            # (4,): sums of losses and of weights, correct rows, rows
    const real* logits,          # (rows, classes)
    const int64_t* labels,       # (rows,)
    const real* class_weight,    # (classes,) or NULL
    Py_ssize_t rows, Py_ssize_t classes, int reduction, int64_t ignore_index, double smoothing,
    int threads,
) noexcept nogil:
    """-(1 - s) w[label] log p[label] - s / classes * sum of w log p, p = softmax(logits)"""
    cdef Py_ssize_t row, correct = 0, counted = 0
    cdef double total = 0, weights = 0
    cdef CrossEntropy c = CrossEntropy(rows, classes, rows_of_chunk(classes), ignore_index,
                                       <real>smoothing, row_losses, probabilities, logits, labels,
                                       class_weight, &correct)
    run_tasks(forward_chunk, &c, (rows + c.height - 1) // c.height, NULL, 0, threads)
    for row in range(rows):
        total += row_losses[row]
        counted += labels[row] != ignore_index
    weights = counted
    if class_weight != NULL:
        weights = 0
        for row in range(rows):
            if labels[row] != ignore_index:
                weights += class_weight[labels[row]]
    if reduction != NONE:
        loss[0] = <real>(total / weights if reduction == MEAN else total)
    statistics[0] = <real>total
    statistics[1] = <real>weights
    statistics[2] = <real>correct
    statistics[3] = <real>counted


cdef struct Gradient:
    Py_ssize_t rows
    Py_ssize_t classes
    Py_ssize_t height            # of a chunk, in rows
    int64_t ignore_index
    double smoothing
    double weight_sum            # over all classes
    double scale                 # of every row, where `by_row` is NULL
    real* dlogits                # (rows, classes)
    const real* by_row           # (rows,) or NULL
    const real* probabilities    # (rows, classes)
    const int64_t* labels        # (rows,)
    const real* class_weight     # (classes,) or NULL


cdef void row_gradient(const Gradient* g, Py_ssize_t row) noexcept nogil:
    """One row, with whatever weights, smoothing and scale it has"""
    cdef real* dlogits = g.dlogits + row * g.classes
    cdef int64_t label = g.labels[row]
    cdef double scale = g.scale if g.by_row == NULL else g.by_row[row]
    cdef double share = scale * g.smoothing / g.classes
    cdef Py_ssize_t j
    if label == g.ignore_index:
        for j in range(g.classes):
            dlogits[j] = 0
        return
    scale *= (1 - g.smoothing) * (1 if g.class_weight == NULL else g.class_weight[label])
    rescale_row(dlogits, g.probabilities + row * g.classes, g.classes,
                0, <real>(scale + share * g.weight_sum), 0)
    if share != 0:
        for j in range(g.classes):
            dlogits[j] -= <real>(share * (1 if g.class_weight == NULL else g.class_weight[j]))
    dlogits[label] -= <real>scale


cdef void plain_gradients(const Gradient* g, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows of one scale are one run of memory: scale (p - onehot)"""
    cdef real* dlogits = g.dlogits + first * g.classes
    cdef real scale = <real>g.scale
    cdef Py_ssize_t row, j
    rescale_row(dlogits, g.probabilities + first * g.classes, (last - first) * g.classes,
                0, scale, 0)
    for row in range(first, last):
        if g.labels[row] != g.ignore_index:
            dlogits[g.labels[row]] -= scale
        else:
            for j in range(g.classes):
                dlogits[j] = 0
        dlogits += g.classes


cdef void backward_chunk(const void* context, Py_ssize_t chunk, char* workspace) noexcept nogil:
    cdef const Gradient* g = <const Gradient*>context
    cdef Py_ssize_t row, first = chunk * g.height, last = min(g.rows, first + g.height)
    if g.class_weight == NULL and g.by_row == NULL and g.smoothing == 0:
        plain_gradients(g, first, last)
        return
    for row in range(first, last):
        row_gradient(g, row)


cdef void cross_entropy_backward(
    real* dlogits,               # (rows, classes)
    const real* upstream,        # (1,) or (rows,)
    const real* probabilities,   # (rows, classes)
    const real* statistics,      # (4,)
    const int64_t* labels,       # (rows,)
    const real* class_weight,    # (classes,) or NULL
    Py_ssize_t rows, Py_ssize_t classes, int reduction, int64_t ignore_index, double smoothing,
    int threads,
) noexcept nogil:
    """dlogits = (1 - s) w[label] (p - onehot) + s / classes * (p sum of w - w), scaled"""
    cdef Gradient g = Gradient(rows, classes, rows_of_chunk(classes), ignore_index, smoothing, classes,
                               upstream[0], dlogits, NULL, probabilities, labels, class_weight)
    cdef Py_ssize_t j
    if reduction == MEAN:
        g.scale = upstream[0] / <double>statistics[1]
    if reduction == NONE:
        g.by_row = upstream
    if class_weight != NULL:
        g.weight_sum = 0
        for j in range(classes):
            g.weight_sum += class_weight[j]
    run_tasks(backward_chunk, &g, (rows + g.height - 1) // g.height, NULL, 0, threads)


cdef void run_cross_entropy_forward(const Step* s) noexcept nogil:
    cross_entropy_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                          <real*>s.data[4], <int64_t*>s.data[5], <real*>s.data[6],
                          s.size[0], s.size[1], <int>s.size[2], s.size[3], s.scalar[0], s.threads)


cdef void run_cross_entropy_backward(const Step* s) noexcept nogil:
    cross_entropy_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                           <int64_t*>s.data[4], <real*>s.data[5],
                           s.size[0], s.size[1], <int>s.size[2], s.size[3], s.scalar[0], s.threads)


KERNELS = {
    "cross_entropy_forward": publish(run_cross_entropy_forward),
    "cross_entropy_backward": publish(run_cross_entropy_backward),
}
