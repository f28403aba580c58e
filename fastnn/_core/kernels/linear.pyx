"""The fully connected layer: y = f(x W + b), and the gradient of its input.

Weights lie as (in, out). Both products go through the same panels (matmul.pxd); a forward
activation, or the gradient of the activation before the layer, is applied to a block of the
result while that is in the cache. The gradient of the parameters: linear_parameters.pyx.
"""

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, ceiling, convolution_of
from fastnn._core.kernels.matmul cimport (
    DEPTH_BLOCK,
    ROWS_WORTH_PACKING,
    SECOND_CACHE_ELEMENTS,
    block_start,
    panel_bounds,
    panel_count,
    product_block,
    row_panel_count,
)
from fastnn._core.kernels.matmul_tail cimport tail_of, tail_product
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    real,
    v_load,
    v_load_first,
    v_store,
    v_store_first,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport TASKS_WORTH_HELP, run_tasks


cdef enum:
    # Rows of a block where there are many: packing a panel is a hundredth of the work on it, and
    # their operands stay in the second-level cache up to some hundred columns.
    BLOCK_ROWS = 512
    # Rows of a block that are worth copying its panels anew so that threads can help each other.
    HELP_WORTH_ROWS = 256
    # Steps of the depth in which a product of few rows takes weights from memory: as many streams as a
    # processor follows.
    SWEEP_DEPTH = 32
    # A product of few rows with weights that fit into a second-level cache is the sum of two halves of
    # its depth, always two: with as many threads each reads the weights that it has updated, and
    # copies no others. A line from the cache of another core takes as long as one from memory.
    HALVES_MOST_ROWS = 128
    HALVES_LEAST_DEPTH = 256

cdef struct Product

# What is done to rows [row, last_row) of `count` columns from `first` on, while they are in the cache.
# Called through a pointer, which keeps its constants out of the registers of the tiles.
ctypedef void (*Finish)(
    const Product* p, Py_ssize_t row, Py_ssize_t last_row, Py_ssize_t first, Py_ssize_t count,
) noexcept nogil

cdef struct Product:
    # c (rows, columns) = a (rows, depth) @ b (depth, columns) + start (columns,), then finished
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t depth
    const real* a
    Py_ssize_t a_row
    const real* b
    Py_ssize_t b_row
    bint b_transposed          # b lies as (columns, depth)
    real* c
    const real* start          # or NULL
    Finish finish              # or NULL
    int activation
    real slope
    const real* output         # (rows, columns), for the gradient of an activation
    Py_ssize_t panels          # of whole vectors, and one for the tail if there is one
    Py_ssize_t tail            # last columns that dot products compute (matmul_tail.pxd)
    Py_ssize_t blocks
    real* second_half          # (rows, columns): of the sums over the depth, or NULL
    Py_ssize_t parts           # of the rows, or of the panels, where each thread has one


cdef void activate_rows(
    const Product* p, Py_ssize_t row, Py_ssize_t last_row, Py_ssize_t first, Py_ssize_t count,
) noexcept nogil:
    """c = f(c)"""
    cdef real* c
    while row < last_row:
        c = p.c + row * p.columns + first
        activation_forward_row(p.activation, c, c, count, p.slope)
        row += 1


cdef void differentiate_rows(
    const Product* p, Py_ssize_t row, Py_ssize_t last_row, Py_ssize_t first, Py_ssize_t count,
) noexcept nogil:
    """c = c f'(.), by the activation's output"""
    cdef Py_ssize_t at
    while row < last_row:
        at = row * p.columns + first
        activation_backward_row(p.activation, p.c + at, p.c + at, p.output + at, count, p.slope)
        row += 1


cdef void product_part(
    const Product* p, Py_ssize_t panel, Py_ssize_t row, Py_ssize_t last_row, Py_ssize_t k,
    Py_ssize_t depth, real* c, const real* start, bint accumulate, real* packed,
) noexcept nogil:
    """A panel of some rows from `depth` steps from k on, plus c itself if `accumulate`."""
    if p.tail and panel == p.panels - 1:
        tail_product(c + row * p.columns, p.columns, p.a + row * p.a_row, p.a_row,
                     p.b, p.b_row, p.b_transposed, start, last_row - row, p.columns - p.tail, p.tail,
                     depth, packed)
    else:
        # The one place of this module where tiles that read A in place are unrolled.
        product_block(panel, p.panels - (p.tail > 0), p.columns - p.tail, last_row - row, depth,
                      p.a + row * p.a_row + k, p.a_row, 1,
                      p.b + k * p.b_row, p.b_row, p.b_transposed,
                      c + row * p.columns, p.columns, start, accumulate, packed)


cdef void finish_part(
    const Product* p, Py_ssize_t panel, Py_ssize_t row, Py_ssize_t last_row,
) noexcept nogil:
    """What is done to a panel of some rows when their sums are complete."""
    cdef Py_ssize_t first, vectors, last_lanes
    if p.finish == NULL:
        return
    if p.tail and panel == p.panels - 1:
        p.finish(p, row, last_row, p.columns - p.tail, p.tail)
    else:
        panel_bounds(panel, p.panels - (p.tail > 0), p.columns - p.tail, &first, &vectors, &last_lanes)
        p.finish(p, row, last_row, first, (vectors - 1) * LANES + last_lanes)


cdef void product_task(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """One panel of one block of rows, in one half of the depth where there are two."""
    cdef const Product* p = <const Product*>context
    cdef real* packed = <real*>workspace
    cdef Py_ssize_t panel = task % p.panels
    cdef Py_ssize_t block = task // p.panels % p.blocks
    cdef Py_ssize_t row = block_start(block, p.blocks, p.rows)
    cdef Py_ssize_t last_row = block_start(block + 1, p.blocks, p.rows)
    cdef Py_ssize_t half = p.depth // 2
    if p.second_half == NULL:
        product_part(p, panel, row, last_row, 0, p.depth, p.c, p.start, False, packed)
        finish_part(p, panel, row, last_row)
    elif task < p.panels * p.blocks:
        product_part(p, panel, row, last_row, 0, half, p.c, p.start, False, packed)
    else:
        product_part(p, panel, row, last_row, half, p.depth - half, p.second_half, NULL, False, packed)


cdef void sweep_task(const void* context, Py_ssize_t part, char* workspace) noexcept nogil:
    """Some panels of all rows, a few steps of the depth at a time.

    B passes by row after row, as it lies in memory, and the sums stay in the cache.
    """
    cdef const Product* p = <const Product*>context
    cdef Py_ssize_t first_panel = part * p.panels // p.parts
    cdef Py_ssize_t last_panel = (part + 1) * p.panels // p.parts
    cdef Py_ssize_t panel, k = 0
    while k < p.depth:
        for panel in range(first_panel, last_panel):
            product_part(p, panel, 0, p.rows, k, min(<Py_ssize_t>SWEEP_DEPTH, p.depth - k), p.c,
                         p.start if k == 0 else NULL, k > 0, <real*>workspace)
        k += SWEEP_DEPTH
    for panel in range(first_panel, last_panel):
        finish_part(p, panel, 0, p.rows)


cdef void add_halves(const void* context, Py_ssize_t part, char* workspace) noexcept nogil:
    """c += second_half in some rows, which are finished then"""
    cdef const Product* p = <const Product*>context
    cdef Py_ssize_t row = part * p.rows // p.parts, last_row = (part + 1) * p.rows // p.parts
    cdef Py_ssize_t i = row * p.columns, end = last_row * p.columns
    while i + LANES <= end:
        v_store(p.c + i, v_load(p.c + i) + v_load(p.second_half + i))
        i += LANES
    if i < end:
        v_store_first(p.c + i, v_load_first(p.c + i, end - i)
                      + v_load_first(p.second_half + i, end - i), end - i)
    if p.finish != NULL:
        p.finish(p, row, last_row, 0, p.columns)


cdef inline bint worth_halves(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth) noexcept nogil:
    return (1 < rows <= HALVES_MOST_ROWS and depth >= HALVES_LEAST_DEPTH
            and depth * columns <= SECOND_CACHE_ELEMENTS)


cdef void multiply_halves(
    Product* p, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """c = a b + start, finished, as the sum of two products of half the depth."""
    p.tail, p.panels, p.parts = 0, panel_count(p.columns), threads
    # More than two threads divide the rows of each half.
    p.blocks = min(ceiling(p.rows, TILE_ROWS), max(threads // 2, 1))
    run_tasks(product_task, p, 2 * p.panels * p.blocks, workspace, workspace_per_thread, threads)
    run_tasks(add_halves, p, p.parts, NULL, 0, threads)


cdef inline bint worth_sweeping(const Product* p) noexcept nogil:
    return (1 < p.rows < ROWS_WORTH_PACKING and not p.b_transposed
            and p.depth * p.columns > SECOND_CACHE_ELEMENTS)


cdef void multiply_sweeping(
    Product* p, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """c = a b + start, finished, of few rows, with weights that no second-level cache holds."""
    p.tail, p.second_half, p.parts = 0, NULL, threads
    p.panels = ceiling(panel_count(p.columns), threads) * threads
    run_tasks(sweep_task, p, p.parts, workspace, workspace_per_thread, threads)


cdef void multiply(
    Product* p, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """All panels and blocks, by one thread or by the team.

    A block packs its panel anew, so there are as few blocks of rows as balance the threads; but of
    many rows (the pixels of a 1 x 1 convolution) a block's stay in the cache from panel to panel.
    """
    cdef Py_ssize_t tiles = ceiling(p.rows, TILE_ROWS)
    if worth_sweeping(p):
        multiply_sweeping(p, workspace, workspace_per_thread, threads)
        return
    p.second_half = NULL
    p.tail = tail_of(p.rows, p.columns, p.depth)
    p.panels = panel_count(p.columns - p.tail) + (p.tail > 0)
    if p.rows == 1 and not p.b_transposed:
        p.panels = row_panel_count(p.columns)
    p.blocks = 1
    if p.panels % threads != 0 and p.panels < 4 * threads:
        p.blocks = min(tiles, threads)
    elif p.tail == 0:
        # As many for each thread, some of them a vector narrower: 500 columns are 12 panels, not 11,
        # of which one thread had 18 vectors, the other 14.
        p.panels = ceiling(p.panels, threads) * threads
    if p.panels > 1 and p.rows >= 2 * BLOCK_ROWS * threads:
        p.blocks = ceiling(p.rows, BLOCK_ROWS * threads) * threads
    while (p.panels * p.blocks < TASKS_WORTH_HELP * threads
            and p.rows >= 2 * p.blocks * HELP_WORTH_ROWS and threads > 1):
        p.blocks *= 2
    run_tasks(product_task, p, p.panels * p.blocks, workspace, workspace_per_thread, threads)


cdef void linear_forward(
    real* y,             # (rows, columns)
    const real* x,       # (rows, depth)
    const real* weight,  # (depth, columns)
    const real* bias,    # (columns,) or NULL
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
    int activation, real slope,
    char* workspace, Py_ssize_t workspace_per_thread, real* second_half, int threads,
) noexcept nogil:
    """y = f(x weight + bias); second_half (rows, columns) is needed where worth_halves"""
    cdef Product p
    p.rows, p.columns, p.depth = rows, columns, depth
    p.a, p.a_row = x, depth
    p.b, p.b_row, p.b_transposed = weight, columns, False
    p.c, p.start = y, bias
    p.finish = NULL
    if activation:
        p.finish = activate_rows
    p.activation, p.slope, p.output = activation, slope, NULL
    if second_half != NULL and worth_halves(rows, columns, depth):
        p.second_half = second_half
        multiply_halves(&p, workspace, workspace_per_thread, threads)
        return
    multiply(&p, workspace, workspace_per_thread, threads)


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
    cdef Product p
    p.rows, p.columns, p.depth = rows, depth, columns
    p.a, p.a_row = dy, columns
    p.b, p.b_row, p.b_transposed = weight, columns, True
    p.c, p.start = dx, NULL
    p.finish = NULL
    if activation:
        p.finish = differentiate_rows
    p.activation, p.slope, p.output = activation, slope, x
    multiply(&p, workspace, workspace_per_thread, threads)


cdef void run_linear_forward(const Step* s) noexcept nogil:
    linear_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                   s.size[0], s.size[1], s.size[2], <int>s.size[3], <real>s.scalar[0],
                   s.workspace, s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


cdef void run_linear_backward_input(const Step* s) noexcept nogil:
    linear_backward_input(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                          s.size[0], s.size[1], s.size[2], <int>s.size[3], <real>s.scalar[0],
                          s.workspace, s.workspace_per_thread, s.threads)


cdef void run_conv2d_pointwise_forward(const Step* s) noexcept nogil:
    """A kernel of one pixel is a fully connected layer on every pixel"""
    cdef Convolution g = convolution_of(s)
    linear_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                   g.images * g.height * g.width, g.filters, g.channels, g.activation,
                   <real>s.scalar[0], s.workspace, s.workspace_per_thread, NULL, s.threads)


cdef void run_conv2d_pointwise_backward_input(const Step* s) noexcept nogil:
    cdef Convolution g = convolution_of(s)
    linear_backward_input(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                          g.images * g.height * g.width, g.filters, g.channels, g.activation,
                          <real>s.scalar[0], s.workspace, s.workspace_per_thread, s.threads)


CONSTANTS = {
    "DEPTH_BLOCK": DEPTH_BLOCK,
    "HALVES_MOST_ROWS": HALVES_MOST_ROWS,
    "HALVES_LEAST_DEPTH": HALVES_LEAST_DEPTH,
    "SECOND_CACHE_ELEMENTS": SECOND_CACHE_ELEMENTS,
}
KERNELS = {
    "conv2d_pointwise_forward": publish(run_conv2d_pointwise_forward),
    "conv2d_pointwise_backward_input": publish(run_conv2d_pointwise_backward_input),
    "linear_forward": publish(run_linear_forward),
    "linear_backward_input": publish(run_linear_backward_input),
}
