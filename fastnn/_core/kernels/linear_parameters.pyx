"""The gradient of the fully connected layer's parameters: dW = x^T dy, db = the sum of dy.

x is given as it lies, (rows, in), and its transpose is the first operand: the eight numbers that a
tile takes at each step lie side by side, but those of the next step a row of x further, often a
power of two, where they compete for a few places in the cache. So x is copied into strips
(matmul.pxd), a block of features at a time, and read from these by all panels of dy.
"""

from fastnn._core.kernels.convolution cimport ceiling
from fastnn._core.kernels.matmul cimport (
    DEPTH_BLOCK,
    block_start,
    copy_strips,
    panel_count,
    strips_product,
)
from fastnn._core.simd cimport (
    LANES,
    TILE_ROWS,
    TILE_VECTORS,
    real,
    v_load,
    v_load_first,
    v_set,
    v_store,
    v_store_first,
    vreal,
)
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    # Of a block's strips: 256 KB in float32, a quarter of a second-level cache or less.
    STRIPS_ELEMENTS = 65536
    # Features of a block: fewer are not worth the copies of panels that each block makes, with more
    # there are too few blocks for threads to help each other.
    BLOCK_FEATURES = 256

cdef struct Gradient:
    real* dweight        # (features, columns)
    const real* x        # (rows, features)
    const real* dy       # (rows, columns)
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t features
    Py_ssize_t panels    # of dweight's columns
    Py_ssize_t blocks    # of its rows, the features
    Py_ssize_t parts     # of its panels


cdef void gradient_task(const void* context, Py_ssize_t task, char* workspace) noexcept nogil:
    """Some panels of one block of features, which are copied once for all of these."""
    cdef const Gradient* g = <const Gradient*>context
    cdef Py_ssize_t block = task // g.parts
    cdef Py_ssize_t first_panel = task % g.parts * g.panels // g.parts
    cdef Py_ssize_t last_panel = (task % g.parts + 1) * g.panels // g.parts
    cdef real* packed = <real*>workspace
    cdef Py_ssize_t feature = block_start(block, g.blocks, g.features)
    cdef Py_ssize_t features = block_start(block + 1, g.blocks, g.features) - feature
    cdef Py_ssize_t steps = max(ceiling(g.rows, rows_of_strips(features)), <Py_ssize_t>1)
    cdef real* strips = packed + DEPTH_BLOCK * TILE_VECTORS * LANES
    cdef Py_ssize_t panel, step, row, rows
    for step in range(steps):
        row = step * g.rows // steps
        rows = (step + 1) * g.rows // steps - row
        copy_strips(strips, g.x + feature + row * g.features, g.features, features, rows)
        for panel in range(first_panel, last_panel):
            strips_product(panel, g.panels, g.columns, features, rows, strips,
                           g.dy + row * g.columns, g.columns, g.dweight + feature * g.columns,
                           g.columns, step > 0, packed)


cdef inline Py_ssize_t rows_of_strips(const Py_ssize_t features) noexcept nogil:
    """As many as strips of so many features and a panel have room for."""
    return min(<Py_ssize_t>DEPTH_BLOCK, STRIPS_ELEMENTS // (ceiling(features, TILE_ROWS) * TILE_ROWS))


cdef void weight_gradient(
    Gradient* g, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """The threads divide the features or the columns, whichever are more: each copies all of the other."""
    cdef Py_ssize_t tiles = ceiling(g.features, TILE_ROWS)
    g.parts = threads
    if tiles >= threads and (g.features >= g.columns or panel_count(g.columns) < threads):
        g.parts = 1
    g.blocks = ceiling(tiles, BLOCK_FEATURES // TILE_ROWS)
    if g.parts == 1:
        g.blocks = min(ceiling(g.blocks, threads) * threads, tiles)
    g.panels = ceiling(panel_count(g.columns), g.parts) * g.parts
    run_tasks(gradient_task, g, g.blocks * g.parts, workspace, workspace_per_thread, threads)


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
    real* dweight,       # (features, columns)
    real* dbias,         # (columns,) or NULL
    const real* x,       # (rows, features)
    const real* dy,      # (rows, columns)
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t features,
    char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dweight = x^T dy, dbias = the sum of dy over its rows"""
    cdef Gradient g
    g.dweight, g.x, g.dy = dweight, x, dy
    g.rows, g.columns, g.features = rows, columns, features
    weight_gradient(&g, workspace, workspace_per_thread, threads)
    if dbias != NULL:
        sum_rows(dbias, dy, rows, columns)


cdef void run_linear_backward_parameters(const Step* s) noexcept nogil:
    linear_backward_parameters(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                               <real*>s.data[3], s.size[0], s.size[1], s.size[2],
                               s.workspace, s.workspace_per_thread, s.threads)


CONSTANTS = {"STRIPS_ELEMENTS": STRIPS_ELEMENTS}
KERNELS = {"linear_backward_parameters": publish(run_linear_backward_parameters)}
