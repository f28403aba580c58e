"""Convolution as the textbook has it: write out the patch matrix, then multiply.

    image (height, width, channels)          columns (pixels, depth)       weight (depth, filters)
    ┌──────────┐   im2col: each patch        ┌──────────────────┐          ┌──────┐
    │ ┌───┐    │   that the kernel sees      │ patch of pixel 0 │    @     │      │  = y (pixels,
    │ └───┘    │   becomes a row       ──▶   │ patch of pixel 1 │          │      │       filters)
    └──────────┘                             └──────────────────┘          └──────┘

    backward to the input        dcolumns = dy weight^T, and col2im adds each row back to its patch
    backward to the parameters   dweight = columns^T dy

The rows of a patch lie in the order of the weights (kernel_height, kernel_width, channels of a
group), so that the weights need no preparation; a group is a convolution of its own. Threads take
images. This is the reference and the form to read first: the other algorithms never write the
patch matrix, which costs more memory traffic than the product saves.
"""

from libc.string cimport memcpy, memset

from fastnn._core.kernels.activation_rows cimport activation_backward_row, activation_forward_row
from fastnn._core.kernels.convolution cimport Convolution, convolution_of
from fastnn._core.kernels.matmul cimport DEPTH_BLOCK, panel_count, product_block
from fastnn._core.simd cimport LANES, TILE_VECTORS, real
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks


cdef enum:
    # Images are summed into this many partial gradients, whatever the number of threads: the sum
    # is then always the same. fastnn/_compiler/convolution/im2col.py has the same number.
    PARTS = 16

cdef struct Job:
    const Convolution* g
    real* out              # y, or dx
    const real* inputs     # x, or dy
    const real* weight
    const real* bias       # forward, or NULL
    const real* output     # backward: of the activation before, or NULL
    real slope

cdef struct Sum:
    const Convolution* g
    real* partial          # (parts, dweight and dbias)
    const real* x
    const real* dy
    Py_ssize_t parts       # of the images


cdef inline Py_ssize_t pixels(const Convolution* g) noexcept nogil:
    return g.out_height * g.out_width


cdef inline Py_ssize_t input_size(const Convolution* g) noexcept nogil:
    """Elements of an image."""
    return g.height * g.width * g.channels


cdef inline Py_ssize_t depth_of(const Convolution* g) noexcept nogil:
    """Elements of a patch of one group."""
    return g.kernel_height * g.kernel_width * (g.channels // g.groups)


cdef Py_ssize_t input_pixel(
    const Convolution* g, Py_ssize_t i, Py_ssize_t j, Py_ssize_t r, Py_ssize_t s,
) noexcept nogil:
    """Index of the input pixel that output pixel (i, j) sees through tap (r, s); -1: padding."""
    cdef Py_ssize_t row = i * g.stride_height - g.pad_top + r * g.dilation_height
    cdef Py_ssize_t column = j * g.stride_width - g.pad_left + s * g.dilation_width
    if row < 0 or row >= g.height or column < 0 or column >= g.width:
        return -1
    return row * g.width + column


cdef void im2col(
    real* columns,       # (pixels, depth)
    const real* image,   # (height, width, channels)
    const Convolution* g, Py_ssize_t group,
) noexcept nogil:
    """Each patch of one group as a row."""
    cdef Py_ssize_t i, j, r, s, pixel, channels = g.channels // g.groups
    image += group * channels
    for i in range(g.out_height):
        for j in range(g.out_width):
            for r in range(g.kernel_height):
                for s in range(g.kernel_width):
                    pixel = input_pixel(g, i, j, r, s)
                    if pixel < 0:
                        memset(columns, 0, channels * sizeof(real))
                    else:
                        memcpy(columns, image + pixel * g.channels, channels * sizeof(real))
                    columns += channels


cdef void col2im(
    real* image,          # (height, width, channels)
    const real* columns,  # (pixels, depth)
    const Convolution* g, Py_ssize_t group,
) noexcept nogil:
    """Adds each row to the patch that it stands for."""
    cdef Py_ssize_t i, j, r, s, c, pixel, channels = g.channels // g.groups
    image += group * channels
    for i in range(g.out_height):
        for j in range(g.out_width):
            for r in range(g.kernel_height):
                for s in range(g.kernel_width):
                    pixel = input_pixel(g, i, j, r, s)
                    if pixel >= 0:
                        for c in range(channels):
                            image[pixel * g.channels + c] += columns[c]
                    columns += channels


cdef void multiply(
    real* c, Py_ssize_t c_row,                         # (rows, columns)
    const real* a, Py_ssize_t a_row, Py_ssize_t a_depth,  # (rows, depth)
    const real* b, Py_ssize_t b_row, bint b_transposed,   # (depth, columns)
    const real* start,                                 # (columns,) or NULL
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, real* packed,
) noexcept nogil:
    """c = a b + start"""
    cdef Py_ssize_t panel, panels = panel_count(columns)
    for panel in range(panels):
        product_block(panel, panels, columns, rows, depth, a, a_row, a_depth, b, b_row,
                      b_transposed, c, c_row, start, False, packed)


cdef void forward_image(const void* context, Py_ssize_t n, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef const Convolution* g = job.g
    cdef real* packed = <real*>workspace
    cdef real* columns = packed + DEPTH_BLOCK * TILE_VECTORS * LANES
    cdef real* y = job.out + n * pixels(g) * g.filters
    cdef Py_ssize_t group, depth = depth_of(g), filters = g.filters // g.groups
    for group in range(g.groups):
        im2col(columns, job.inputs + n * input_size(g), g, group)
        multiply(y + group * filters, g.filters, columns, depth, 1,
                 job.weight + group * filters, g.filters, False,
                 job.bias + group * filters if job.bias != NULL else NULL,
                 pixels(g), filters, depth, packed)
    if g.activation:
        activation_forward_row(g.activation, y, y, pixels(g) * g.filters, job.slope)


cdef void conv2d_im2col_forward(
    real* y,             # (images, out_height, out_width, filters)
    const real* x,       # (images, height, width, channels)
    const real* weight,  # (kernel_height, kernel_width, channels / groups, filters)
    const real* bias,    # (filters,) or NULL
    Convolution g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """y = f(conv(x, weight) + bias)"""
    cdef Job job = Job(&g, y, x, weight, bias, NULL, slope)
    run_tasks(forward_image, &job, g.images, workspace, workspace_per_thread, threads)


cdef void backward_input_image(const void* context, Py_ssize_t n, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef const Convolution* g = job.g
    cdef real* packed = <real*>workspace
    cdef real* columns = packed + DEPTH_BLOCK * TILE_VECTORS * LANES
    cdef Py_ssize_t group, depth = depth_of(g), filters = g.filters // g.groups, size = input_size(g)
    cdef real* dx = job.out + n * size
    cdef const real* dy = job.inputs + n * pixels(g) * g.filters
    memset(dx, 0, size * sizeof(real))
    for group in range(g.groups):
        multiply(columns, depth, dy + group * filters, g.filters, 1, job.weight + group * filters,
                 g.filters, True, NULL, pixels(g), depth, filters, packed)
        col2im(dx, columns, g, group)
    if job.output != NULL:
        activation_backward_row(g.activation, dx, dx, job.output + n * size, size, job.slope)


cdef void conv2d_im2col_backward_input(
    real* dx,            # (images, height, width, channels)
    const real* dy,      # (images, out_height, out_width, filters)
    const real* weight,  # (kernel_height, kernel_width, channels / groups, filters)
    const real* x,       # (images, height, width, channels): output of the activation before, or NULL
    Convolution g, real slope, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    """dx = the gradient of conv to its input, times the derivative of the activation that made x"""
    cdef Job job = Job(&g, dx, dy, weight, NULL, x, slope)
    run_tasks(backward_input_image, &job, g.images, workspace, workspace_per_thread, threads)


cdef void add(real* total, const real* term, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        total[i] += term[i]


cdef void backward_parameters_part(const void* context, Py_ssize_t part, char* workspace) noexcept nogil:
    """The gradients of a part of the images."""
    cdef const Sum* sum = <const Sum*>context
    cdef const Convolution* g = sum.g
    cdef Py_ssize_t depth = depth_of(g), filters = g.filters // g.groups, n, group, pixel
    cdef real* packed = <real*>workspace
    cdef real* product = packed + DEPTH_BLOCK * TILE_VECTORS * LANES
    cdef real* columns = product + depth * g.filters
    cdef real* dweight = sum.partial + part * (depth + 1) * g.filters
    cdef real* dbias = dweight + depth * g.filters
    memset(dweight, 0, (depth + 1) * g.filters * sizeof(real))
    for n in range(part * g.images // sum.parts, (part + 1) * g.images // sum.parts):
        for group in range(g.groups):
            im2col(columns, sum.x + n * input_size(g), g, group)
            multiply(product + group * filters, g.filters, columns, 1, depth,
                     sum.dy + n * pixels(g) * g.filters + group * filters, g.filters, False, NULL,
                     depth, filters, pixels(g), packed)
        add(dweight, product, depth * g.filters)
        for pixel in range(pixels(g)):
            add(dbias, sum.dy + (n * pixels(g) + pixel) * g.filters, g.filters)


cdef void conv2d_im2col_backward_parameters(
    real* dweight,       # (kernel_height, kernel_width, channels / groups, filters)
    real* dbias,         # (filters,) or NULL
    const real* x,       # (images, height, width, channels)
    const real* dy,      # (images, out_height, out_width, filters)
    Convolution g, char* workspace, Py_ssize_t workspace_per_thread, real* partial, int threads,
) noexcept nogil:
    """dweight = columns^T dy summed over the images, dbias = the sum of dy over pixels and images"""
    cdef Py_ssize_t size = depth_of(&g) * g.filters, stride = size + g.filters
    cdef Py_ssize_t part, parts = min(g.images, <Py_ssize_t>PARTS)
    cdef Sum sum = Sum(&g, partial, x, dy, parts)
    run_tasks(backward_parameters_part, &sum, parts, workspace, workspace_per_thread, threads)
    for part in range(1, parts):
        add(partial, partial + part * stride, stride)
    memcpy(dweight, partial, size * sizeof(real))
    if dbias != NULL:
        memcpy(dbias, partial + size, g.filters * sizeof(real))


cdef void run_conv2d_im2col_forward(const Step* s) noexcept nogil:
    conv2d_im2col_forward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], <real*>s.data[3],
                          convolution_of(s), <real>s.scalar[0],
                          s.workspace, s.workspace_per_thread, s.threads)


cdef void run_conv2d_im2col_backward_input(const Step* s) noexcept nogil:
    conv2d_im2col_backward_input(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                                 <real*>s.data[3], convolution_of(s), <real>s.scalar[0],
                                 s.workspace, s.workspace_per_thread, s.threads)


cdef void run_conv2d_im2col_backward_parameters(const Step* s) noexcept nogil:
    conv2d_im2col_backward_parameters(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2],
                                      <real*>s.data[3], convolution_of(s), s.workspace,
                                      s.workspace_per_thread, <real*>s.shared_workspace, s.threads)


CONSTANTS = {"PARTS": PARTS}
KERNELS = {
    "conv2d_im2col_forward": publish(run_conv2d_im2col_forward),
    "conv2d_im2col_backward_input": publish(run_conv2d_im2col_backward_input),
    "conv2d_im2col_backward_parameters": publish(run_conv2d_im2col_backward_parameters),
}
