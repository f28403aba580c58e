"""The fully connected layer: y = f(x W + b), and its gradients.

Weights lie as (in, out). All three products go through the same panels (matmul.pxd); a forward
activation, or the gradient of the activation before the layer, is applied to a block of the
result while that is in the cache.
"""

from cython.parallel cimport prange, threadid

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.matmul cimport panel_bounds, panel_count, product_block
from fastnn._core.simd cimport LANES, TILE_ROWS, real, v_load, v_load_first, v_set, v_store, v_store_first, vreal
from fastnn._core.step cimport Step, publish


cdef void multiply_block(
    Py_ssize_t panel, Py_ssize_t panels, Py_ssize_t columns, Py_ssize_t rows, Py_ssize_t depth,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_depth,
    const real* b, Py_ssize_t b_row, bint b_transposed,
    real* c, Py_ssize_t c_row, const real* start, real* packed,
) noexcept nogil:
    # The one place of this module where the tiles are unrolled.
    product_block(panel, panels, columns, rows, depth, a, a_row, a_depth, b, b_row, b_transposed,
                  c, c_row, start, packed)


cdef inline Py_ssize_t row_blocks(Py_ssize_t rows, Py_ssize_t panels, int threads) noexcept nogil:
    """Into how many blocks of rows each panel is split, so that every thread has its share.

    A block packs its panel anew, so there are as few as balance the threads.
    """
    cdef Py_ssize_t tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    if threads == 1 or panels % threads == 0 or panels >= 4 * threads:
        return 1
    return min(tiles, threads)


cdef inline Py_ssize_t block_start(Py_ssize_t block, Py_ssize_t blocks, Py_ssize_t rows) noexcept nogil:
    """Blocks end at whole tiles, so that all but the last are made of full ones."""
    cdef Py_ssize_t tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    return min(rows, block * tiles // blocks * TILE_ROWS)


cdef void linear_forward(
    real* y,             # (rows, columns)
    const real* x,       # (rows, depth)
    const real* weight,  # (depth, columns)
    const real* bias,    # (columns,) or NULL
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
    int activation, real slope,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """y = f(x weight + bias)"""
    cdef Py_ssize_t panels = panel_count(columns)
    cdef Py_ssize_t blocks = row_blocks(rows, panels, threads)
    cdef Py_ssize_t task, panel, block, first_row, last_row
    for task in prange(panels * blocks, schedule="static", num_threads=threads,
                       use_threads_if=threads > 1):
        panel = task % panels
        block = task // panels
        first_row = block_start(block, blocks, rows)
        last_row = block_start(block + 1, blocks, rows)
        multiply_block(panel, panels, columns, last_row - first_row, depth,
                       x + first_row * depth, depth, 1, weight, columns, False,
                       y + first_row * columns, columns, bias,
                       <real*>(workspace + threadid() * workspace_per_thread))
        if activation:
            activate_block(y, first_row, last_row, panel, panels, columns, activation, slope)


cdef void activate_block(
    real* y, Py_ssize_t first_row, Py_ssize_t last_row,
    Py_ssize_t panel, Py_ssize_t panels, Py_ssize_t columns, int activation, real slope,
) noexcept nogil:
    cdef Py_ssize_t row, first, vectors, last_lanes, count
    panel_bounds(panel, panels, columns, &first, &vectors, &last_lanes)
    count = (vectors - 1) * LANES + last_lanes
    for row in range(first_row, last_row):
        activation_forward_row(activation, y + row * columns + first, y + row * columns + first,
                               count, slope)


cdef void linear_backward_input(
    real* dx,            # (rows, depth)
    const real* dy,      # (rows, columns)
    const real* weight,  # (depth, columns)
    const real* x,       # (rows, depth): the output of the activation before, if there is one
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
    int activation, real slope,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = dy weight^T, times the derivative of the activation that made x"""
    cdef Py_ssize_t panels = panel_count(depth)
    cdef Py_ssize_t blocks = row_blocks(rows, panels, threads)
    cdef Py_ssize_t task, panel, block, first_row, last_row
    for task in prange(panels * blocks, schedule="static", num_threads=threads,
                       use_threads_if=threads > 1):
        panel = task % panels
        block = task // panels
        first_row = block_start(block, blocks, rows)
        last_row = block_start(block + 1, blocks, rows)
        multiply_block(panel, panels, depth, last_row - first_row, columns,
                       dy + first_row * columns, columns, 1, weight, columns, True,
                       dx + first_row * depth, depth, NULL,
                       <real*>(workspace + threadid() * workspace_per_thread))
        if activation:
            gradient_block(dx, x, first_row, last_row, panel, panels, depth, activation, slope)


cdef void gradient_block(
    real* dx, const real* x, Py_ssize_t first_row, Py_ssize_t last_row,
    Py_ssize_t panel, Py_ssize_t panels, Py_ssize_t columns, int activation, real slope,
) noexcept nogil:
    cdef Py_ssize_t row, first, vectors, last_lanes, count, at
    panel_bounds(panel, panels, columns, &first, &vectors, &last_lanes)
    count = (vectors - 1) * LANES + last_lanes
    for row in range(first_row, last_row):
        at = row * columns + first
        activation_backward_row(activation, dx + at, dx + at, x + at, count, slope)


cdef void sum_rows(
    real* total,         # (columns,)
    const real* dy,      # (rows, columns)
    Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    """total = the sum of dy over its rows"""
    cdef Py_ssize_t row, column = 0
    cdef vreal sums
    while column + LANES <= columns:
        sums = v_set(0)
        for row in range(rows):
            sums += v_load(dy + row * columns + column)
        v_store(total + column, sums)
        column += LANES
    if column < columns:
        sums = v_set(0)
        for row in range(rows):
            sums += v_load_first(dy + row * columns + column, columns - column)
        v_store_first(total + column, sums, columns - column)


cdef void linear_backward_parameters(
    real* dweight,       # (depth, columns)
    real* dbias,         # (columns,) or NULL
    const real* x,       # (rows, depth)
    const real* dy,      # (rows, columns)
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dweight = x^T dy, dbias = the sum of dy over its rows"""
    cdef Py_ssize_t panels = panel_count(columns)
    cdef Py_ssize_t blocks = row_blocks(depth, panels, threads)
    cdef Py_ssize_t task, panel, block, first_row, last_row
    for task in prange(panels * blocks, schedule="static", num_threads=threads,
                       use_threads_if=threads > 1):
        panel = task % panels
        block = task // panels
        first_row = block_start(block, blocks, depth)
        last_row = block_start(block + 1, blocks, depth)
        multiply_block(panel, panels, columns, last_row - first_row, rows,
                       x + first_row, 1, depth, dy, columns, False,
                       dweight + first_row * columns, columns, NULL,
                       <real*>(workspace + threadid() * workspace_per_thread))
    if dbias != NULL:
        sum_rows(dbias, dy, rows, columns)


cdef void run_linear_forward(const Step* s) noexcept nogil:
    linear_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                   s.size[0], s.size[1], s.size[2], <int>s.size[3], <real>s.scalar[0],
                   s.workspace, s.workspace_per_thread, s.threads)


cdef void run_linear_backward_input(const Step* s) noexcept nogil:
    linear_backward_input(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                          s.size[0], s.size[1], s.size[2], <int>s.size[3], <real>s.scalar[0],
                          s.workspace, s.workspace_per_thread, s.threads)


cdef void run_linear_backward_parameters(const Step* s) noexcept nogil:
    linear_backward_parameters(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                               <real*>s.data[3], s.size[0], s.size[1], s.size[2],
                               s.workspace, s.workspace_per_thread, s.threads)


KERNELS = {
    "linear_forward": publish(run_linear_forward),
    "linear_backward_input": publish(run_linear_backward_input),
    "linear_backward_parameters": publish(run_linear_backward_parameters),
}
