"""Winograd's minimal filtering on six points (0, 1, -1, 2, -2, infinity), along one axis.

    y = A^T ((G g) * (B^T x))        F(4, 3): x (6), g (3) -> y (4)
                                     F(2, 5): x (6), g (5) -> y (2)

Six products give what 4 * 3 = 12, or 2 * 5 = 10, gave before; in two dimensions 36 do the work of
144, or 100. The points alone fix B, so that both share the transform of the input. G and A hold
powers of the points, one column for a tap and one row for an output: a polynomial's values, even
and odd powers apart, since points come in pairs of opposite sign.

Gradients take the transposes: dx of a convolution is one with flipped weights, and

    dg = G^T ((A dy) * (B^T x))

Each function reads vectors (a lane for each channel) and writes them `step` vectors apart, so that
a two-dimensional transform is the same function along both axes. `taps` is a literal, 3 or 5, and
a tile has OUTPUTS = 7 - taps of them.
"""

from fastnn._core.simd cimport real, vreal


cdef enum:
    POINTS = 6
    PRODUCTS = POINTS * POINTS


cdef inline void input_transform(
    vreal* v, const int step, vreal x0, vreal x1, vreal x2, vreal x3, vreal x4, vreal x5,
) noexcept nogil:
    """v (6) = B^T x"""
    cdef vreal even1 = x4 - 4 * x2
    cdef vreal odd1 = x3 - 4 * x1
    cdef vreal even2 = x4 - x2
    cdef vreal odd2 = x3 - x1
    v[0] = x4 + 4 * x0 - 5 * x2
    v[step] = even1 + odd1
    v[2 * step] = even1 - odd1
    v[3 * step] = even2 + 2 * odd2
    v[4 * step] = even2 - 2 * odd2
    v[5 * step] = x5 + 4 * x1 - 5 * x3


cdef inline void output_transform(
    const int taps, vreal* y, const int step,
    vreal m0, vreal m1, vreal m2, vreal m3, vreal m4, vreal m5,
) noexcept nogil:
    """y (7 - taps) = A^T m"""
    cdef vreal even1 = m1 + m2
    cdef vreal odd1 = m1 - m2
    cdef vreal even2 = m3 + m4
    cdef vreal odd2 = m3 - m4
    y[0] = m0 + even1 + even2
    if taps == 3:
        y[step] = odd1 + 2 * odd2
        y[2 * step] = even1 + 4 * even2
        y[3 * step] = odd1 + 8 * odd2 + m5
    else:
        y[step] = odd1 + 2 * odd2 + m5


cdef inline void output_gradient_transform(
    const int taps, vreal* d, const int step, vreal y0, vreal y1, vreal y2, vreal y3,
) noexcept nogil:
    """d (6) = A y; y2 and y3 are not used of a tile of two outputs."""
    cdef vreal even1 = y0
    cdef vreal odd1 = y1
    cdef vreal even2 = y0
    cdef vreal odd2 = 2 * y1
    cdef vreal last = y1
    if taps == 3:
        even1 = y0 + y2
        odd1 = y1 + y3
        even2 = y0 + 4 * y2
        odd2 = 2 * y1 + 8 * y3
        last = y3
    d[0] = y0
    d[step] = even1 + odd1
    d[2 * step] = even1 - odd1
    d[3 * step] = even2 + odd2
    d[4 * step] = even2 - odd2
    d[5 * step] = last


cdef inline void weight_transform(
    const int taps, vreal* u, const int step, vreal g0, vreal g1, vreal g2, vreal g3, vreal g4,
) noexcept nogil:
    """u (6) = G g; g3 and g4 are not used of three taps."""
    cdef vreal even1 = g0 + g2
    cdef vreal odd1 = g1
    cdef vreal even2 = g0 + 4 * g2
    cdef vreal odd2 = 2 * g1
    cdef vreal last = g2
    if taps == 5:
        even1 = even1 + g4
        odd1 = odd1 + g3
        even2 = even2 + 16 * g4
        odd2 = odd2 + 8 * g3
        last = g4
    u[0] = g0 * <real>0.25
    u[step] = (even1 + odd1) * <real>(-1.0 / 6)
    u[2 * step] = (even1 - odd1) * <real>(-1.0 / 6)
    u[3 * step] = (even2 + odd2) * <real>(1.0 / 24)
    u[4 * step] = (even2 - odd2) * <real>(1.0 / 24)
    u[5 * step] = last


cdef inline void weight_gradient_transform(
    const int taps, vreal* g, const int step,
    vreal u0, vreal u1, vreal u2, vreal u3, vreal u4, vreal u5,
) noexcept nogil:
    """g (taps) = G^T u"""
    cdef vreal even1 = (u1 + u2) * <real>(-1.0 / 6)
    cdef vreal odd1 = (u1 - u2) * <real>(-1.0 / 6)
    cdef vreal even2 = (u3 + u4) * <real>(1.0 / 24)
    cdef vreal odd2 = (u3 - u4) * <real>(1.0 / 24)
    g[0] = u0 * <real>0.25 + even1 + even2
    g[step] = odd1 + 2 * odd2
    if taps == 3:
        g[2 * step] = even1 + 4 * even2 + u5
    else:
        g[2 * step] = even1 + 4 * even2
        g[3 * step] = odd1 + 8 * odd2
        g[4 * step] = even1 + 16 * even2 + u5
