"""Local response normalization across the channels of channels-last images.

    y = x u^-beta,   u = k + alpha / size * the sum of x^2 over a window of `size` channels

A window's sum is `size` loads at neighbouring addresses, from a copy of the pixel's squares with
zeros at both ends. Backward computes u again from x: no array is kept for it.
"""

from libc.string cimport memset

from fastnn._core.kernels.lanes cimport load_lanes, store_lanes
from fastnn._core.kernels.vector_math cimport v_exp, v_log
from fastnn._core.simd cimport LANES, real, v_load, v_set, v_store, vreal
from fastnn._core.step cimport Step, publish
from fastnn._core.tasks cimport run_tasks

cdef enum:
    # Pixels of a piece of work.
    PIECE = 64

cdef struct Response:
    Py_ssize_t pixels
    Py_ssize_t channels
    Py_ssize_t size
    real share                 # alpha / size
    real beta
    real k

cdef struct Job:
    const Response* r
    real* out                  # y, or dx
    const real* x
    const real* dy             # backward


cdef inline Py_ssize_t padded_length(const Response* r) noexcept nogil:
    """Room for the vectors of a pixel and a window more (the operator reserves two of these)."""
    return r.channels + r.size + 2 * LANES


cdef inline vreal window_sum(const real* padded, const Py_ssize_t size) noexcept nogil:
    cdef vreal total = v_set(0)
    cdef Py_ssize_t i
    for i in range(size):
        total += v_load(padded + i)
    return total


cdef inline Py_ssize_t lanes_at(const Response* r, const Py_ssize_t channel) noexcept nogil:
    return min(<Py_ssize_t>LANES, r.channels - channel)


cdef inline void squares_of_pixel(real* padded, const real* x, const Response* r) noexcept nogil:
    """The lanes beyond the last channel become zero, as they were."""
    cdef Py_ssize_t channel = 0
    cdef vreal value
    while channel < r.channels:
        value = load_lanes(x + channel, lanes_at(r, channel))
        v_store(padded + r.size // 2 + channel, value * value)
        channel += LANES


cdef inline vreal power_of_sum(vreal u, real beta) noexcept nogil:
    """u^-beta"""
    return v_exp(v_log(u) * -beta)


cdef void forward_piece(const void* context, Py_ssize_t piece, char* workspace) noexcept nogil:
    cdef const Job* job = <const Job*>context
    cdef const Response* r = job.r
    cdef real* y = job.out
    cdef const real* x = job.x
    cdef real* padded = <real*>workspace
    cdef Py_ssize_t pixel, channel, lanes, at
    cdef vreal u
    memset(padded, 0, padded_length(r) * sizeof(real))
    for pixel in range(piece * PIECE, min(r.pixels, (piece + 1) * PIECE)):
        at = pixel * r.channels
        squares_of_pixel(padded, x + at, r)
        channel = 0
        while channel < r.channels:
            lanes = lanes_at(r, channel)
            u = r.k + r.share * window_sum(padded + channel, r.size)
            store_lanes(y + at + channel,
                        load_lanes(x + at + channel, lanes) * power_of_sum(u, r.beta), lanes)
            channel += LANES


cdef void backward_piece(const void* context, Py_ssize_t piece, char* workspace) noexcept nogil:
    """dx = dy u^-beta - 2 share beta x * the sum of dy x u^(-beta - 1) over the windows x is in"""
    cdef const Job* job = <const Job*>context
    cdef const Response* r = job.r
    cdef real* dx = job.out
    cdef const real* x = job.x
    cdef const real* dy = job.dy
    cdef Py_ssize_t pixel, channel, lanes, at
    cdef real* padded = <real*>workspace
    cdef real* ratios = padded + padded_length(r)
    # A window reaches size // 2 channels back, so that one is in those that far ahead.
    cdef Py_ssize_t before = (r.size - 1) // 2
    cdef real factor = 2 * r.share * r.beta
    cdef vreal u, gradient, value
    memset(padded, 0, 2 * padded_length(r) * sizeof(real))
    for pixel in range(piece * PIECE, min(r.pixels, (piece + 1) * PIECE)):
        at = pixel * r.channels
        squares_of_pixel(padded, x + at, r)
        channel = 0
        while channel < r.channels:
            lanes = lanes_at(r, channel)
            u = r.k + r.share * window_sum(padded + channel, r.size)
            gradient = load_lanes(dy + at + channel, lanes) * power_of_sum(u, r.beta)
            store_lanes(dx + at + channel, gradient, lanes)
            # Beyond the last channel it may be 0 / 0: not stored, the zeros there stay.
            value = gradient * load_lanes(x + at + channel, lanes) / u
            store_lanes(ratios + before + channel, value, lanes)
            channel += LANES
        channel = 0
        while channel < r.channels:
            lanes = lanes_at(r, channel)
            value = load_lanes(x + at + channel, lanes)
            gradient = load_lanes(dx + at + channel, lanes)
            gradient -= factor * value * window_sum(ratios + channel, r.size)
            store_lanes(dx + at + channel, gradient, lanes)
            channel += LANES


cdef void local_response_forward(
    real* y,             # (pixels, channels)
    const real* x,       # (pixels, channels)
    const Response* r, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    cdef Job job = Job(r, y, x, NULL)
    run_tasks(forward_piece, &job, (r.pixels + PIECE - 1) // PIECE,
              workspace, workspace_per_thread, threads)


cdef void local_response_backward(
    real* dx,            # (pixels, channels)
    const real* dy,      # (pixels, channels)
    const real* x,       # (pixels, channels)
    const Response* r, char* workspace, Py_ssize_t workspace_per_thread, int threads,
) noexcept nogil:
    cdef Job job = Job(r, dx, x, dy)
    run_tasks(backward_piece, &job, (r.pixels + PIECE - 1) // PIECE,
              workspace, workspace_per_thread, threads)


cdef inline Response response_of(const Step* s) noexcept nogil:
    return Response(s.size[0], s.size[1], s.size[2], <real>(s.scalar[0] / s.size[2]),
                    <real>s.scalar[1], <real>s.scalar[2])


cdef void run_local_response_forward(const Step* s) noexcept nogil:
    cdef Response r = response_of(s)
    local_response_forward(<real*>s.data[0], <real*>s.data[1], &r,
                           s.workspace, s.workspace_per_thread, s.threads)


cdef void run_local_response_backward(const Step* s) noexcept nogil:
    cdef Response r = response_of(s)
    local_response_backward(<real*>s.data[0], <real*>s.data[1], <real*>s.data[2], &r,
                            s.workspace, s.workspace_per_thread, s.threads)


KERNELS = {
    "local_response_forward": publish(run_local_response_forward),
    "local_response_backward": publish(run_local_response_backward),
}
