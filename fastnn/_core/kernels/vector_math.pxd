"""Exponential functions and activations on vectors: the mathematics, once, inlined into the loops.

Each reads as its formula. Accuracy is that of the element type (2 units in the last place or so;
measured in tests/test_vector_math.py); NaN stays NaN, and infinities give the limits.

Activations are told apart by a literal `kind`, so that the choice is made by the C compiler and
the loop that inlines it has no branch. Derivatives are functions of the output y alone, so that
the input of an activation need not be kept.
"""

from fastnn._core.simd cimport (
    real,
    v_abs,
    v_at_least,
    v_at_most,
    v_copy_sign,
    v_exponent,
    v_less,
    v_less_equal,
    v_mantissa,
    v_round,
    v_scale_by_power,
    v_select,
    v_select_not_positive,
    v_set,
    v_zero_where,
    vmask,
    vreal,
)
from libc.math cimport INFINITY

cdef enum:
    # Activations that a kernel can apply to its own output.
    IDENTITY = 0
    RELU = 1
    LEAKY_RELU = 2
    SIGMOID = 3
    TANH = 4
    ELU = 5


cdef inline real log_two_high() noexcept nogil:
    """log(2) in so few bits that a product with a whole power of two's exponent is exact."""
    return <real>0.693359375 if sizeof(real) == 4 else <real>0.693147180369123816490


cdef inline real log_two_low() noexcept nogil:
    """What log(2) is beyond `log_two_high`."""
    return <real>-2.12194440054690583e-4 if sizeof(real) == 4 else <real>1.90821492927058770002e-10


cdef inline vreal reduced_argument(vreal x, vreal* power) noexcept nogil:
    """r in [-log(2)/2, log(2)/2] and a whole power with x = power log(2) + r.

    log(2) is subtracted in two parts, so that r keeps every digit.
    """
    cdef vreal whole = v_round(x * <real>1.44269504088896340736)
    power[0] = whole
    return (x - whole * log_two_high()) - whole * log_two_low()


cdef inline vreal taylor_expm1(vreal r) noexcept nogil:
    """exp(r) - 1 for |r| <= log(2)/2 by its series: the first term left out is below half a unit."""
    cdef vreal square = r * r
    cdef vreal p
    if sizeof(real) == 4:
        # In pairs, which need not wait for each other.
        p = (r * <real>(1.0 / 5040) + <real>(1.0 / 720)) * square + (
            r * <real>(1.0 / 120) + <real>(1.0 / 24))
        p = p * square + (r * <real>(1.0 / 6) + <real>0.5)
        return p * square + r
    p = r * <real>(1.0 / 6227020800.0) + <real>(1.0 / 479001600)
    p = p * r + <real>(1.0 / 39916800)
    p = p * r + <real>(1.0 / 3628800)
    p = p * r + <real>(1.0 / 362880)
    p = p * r + <real>(1.0 / 40320)
    p = p * r + <real>(1.0 / 5040)
    p = p * r + <real>(1.0 / 720)
    p = p * r + <real>(1.0 / 120)
    p = p * r + <real>(1.0 / 24)
    p = p * r + <real>(1.0 / 6)
    p = p * r + <real>0.5
    return p * square + r


cdef inline vreal v_exp(vreal x) noexcept nogil:
    """exp(x): zero below the normal numbers, and infinity above the range of the type."""
    cdef real lowest = <real>-87.33654 if sizeof(real) == 4 else <real>-708.39641
    cdef real highest = 89 if sizeof(real) == 4 else 710
    cdef vreal power
    cdef vmask too_small = v_less(x, v_set(lowest))
    x = v_at_most(x, highest)
    cdef vreal r = reduced_argument(v_zero_where(too_small, x), &power)
    return v_zero_where(too_small, v_scale_by_power(taylor_expm1(r) + 1, power))


cdef inline vreal expm1_of_negative(vreal x, real scale) noexcept nogil:
    """scale (exp(x) - 1) for x <= 0, accurate near zero too.

    With x = k log(2) + r it is scale 2^k (exp(r) - 1) + scale (2^k - 1). The error of a log(2) in one
    part is k units in the last place of r, which 2^k makes nothing of.
    """
    x = v_at_least(x, -60)
    cdef vreal power = v_round(x * <real>1.44269504088896340736)
    cdef vreal r = x - power * <real>0.69314718055994530942
    cdef vreal powers_scale = v_scale_by_power(v_set(scale), power)
    return powers_scale * taylor_expm1(r) + (powers_scale - scale)


cdef inline vreal artanh_series(vreal z) noexcept nogil:
    """p = 2/3 + 2/5 z + 2/7 z^2 + ...: 2 artanh(s) = 2 s + s z p with z = s^2.

    It serves logarithms of m in [sqrt(1/2), sqrt(2)], for which s = (m - 1) / (m + 1) is small.
    """
    cdef vreal p
    if sizeof(real) == 4:
        p = z * <real>(2.0 / 9) + <real>(2.0 / 7)
    else:
        p = z * <real>(2.0 / 21) + <real>(2.0 / 19)
        p = p * z + <real>(2.0 / 17)
        p = p * z + <real>(2.0 / 15)
        p = p * z + <real>(2.0 / 13)
        p = p * z + <real>(2.0 / 11)
        p = p * z + <real>(2.0 / 9)
        p = p * z + <real>(2.0 / 7)
    p = p * z + <real>(2.0 / 5)
    p = p * z + <real>(2.0 / 3)
    return p


cdef inline vreal v_log(vreal x) noexcept nogil:
    """log(x) for a normal x: the power of two, and 2 artanh((m - 1) / (m + 1)) of the mantissa m in
    [sqrt(1/2), sqrt(2)). Infinity and NaN stay; zero and denormals give -infinity.
    """
    cdef vreal m = v_mantissa(x)
    cdef vreal power = v_exponent(x)
    cdef vmask large = v_less(v_set(<real>1.41421356237309504880), m)
    m = v_select(large, m * <real>0.5, m)
    power = v_select(large, power + 1, power)
    cdef vreal s = (m - 1) / (m + 1)
    cdef vreal z = s * s
    cdef vreal result = power * log_two_high() + (
        power * log_two_low() + (2 * s + s * z * artanh_series(z)))
    cdef real smallest = 1.17549435e-38 if sizeof(real) == 4 else 2.2250738585072014e-308
    result = v_select(v_less(x, v_set(smallest)), v_set(-INFINITY), result)
    # What is not below infinity is infinity or NaN.
    return v_select(v_less(x, v_set(INFINITY)), result, x)


cdef inline vreal v_sigmoid(vreal x) noexcept nogil:
    """1 / (1 + exp(-x))"""
    return 1 / (1 + v_exp(-x))


cdef inline vreal v_tanh(vreal x) noexcept nogil:
    """tanh |x| = -m / (m + 2) with m = exp(-2 |x|) - 1, and the sign of x."""
    cdef vreal m = expm1_of_negative(v_abs(x) * <real>-2.0, 1)
    return v_copy_sign(m / (m + 2), x)


cdef inline vreal activate(const int kind, vreal x, real slope) noexcept nogil:
    """y = f(x). `slope` is the leaky ReLU's factor below zero, or ELU's alpha."""
    if kind == RELU:
        return v_zero_where(v_less_equal(x, v_set(0)), x)
    if kind == LEAKY_RELU:
        return v_select_not_positive(x, slope * x, x)
    if kind == SIGMOID:
        return v_sigmoid(x)
    if kind == TANH:
        return v_tanh(x)
    if kind == ELU:
        return v_select_not_positive(x, expm1_of_negative(x, slope), x)
    return x


cdef inline vreal activation_gradient(const int kind, vreal y, vreal dy, real slope) noexcept nogil:
    """dx = dy f'(x), by y = f(x)."""
    if kind == RELU:
        return v_zero_where(v_less_equal(y, v_set(0)), dy)
    if kind == LEAKY_RELU:
        return v_select_not_positive(y, slope * dy, dy)
    if kind == SIGMOID:
        return dy * (y * (1 - y))
    if kind == TANH:
        return dy * (1 - y * y)
    if kind == ELU:
        return v_select_not_positive(y, dy * (y + slope), dy)
    return dy
