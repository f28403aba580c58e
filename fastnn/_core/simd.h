/* Vector types of the kernels: the only C of the project.
 *
 * `real` is the element type of a build (float, or double with FASTNN_DOUBLE) and
 * `vreal` a vector of LANES of them, as wide as the instruction set of the build.
 * Arithmetic on them is plain C arithmetic, so that kernels read as formulas;
 * here stands only what an arithmetic operator cannot say.
 */
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef FASTNN_DOUBLE
typedef double real;
typedef int64_t real_bits;
#define REAL_MANTISSA_BITS 52
#define REAL_EXPONENT_BIAS 1023
#else
typedef float real;
typedef int32_t real_bits;
#define REAL_MANTISSA_BITS 23
#define REAL_EXPONENT_BIAS 127
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#include <immintrin.h>
#define VECTOR_BYTES 32
#else
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#define VECTOR_BYTES 16
#endif

#define LANES ((int)(VECTOR_BYTES / sizeof(real)))

/* A register tile of a matrix product holds TILE_ROWS x TILE_VECTORS sums:
 * as many as fit beside the operands into 32 registers, or into 16. */
#if defined(__AVX512F__)
#define TILE_ROWS 8
#define TILE_VECTORS 3
#elif defined(__aarch64__)
#define TILE_ROWS 6
#define TILE_VECTORS 4
#else
#define TILE_ROWS 6
#define TILE_VECTORS 2
#endif

typedef real vreal __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef real_bits vmask __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* Before a loop over part of a vector: unrolled, it would be a branch for each lane at every use. */
#define V_SHORT_LOOP _Pragma("GCC unroll 1")
#define FASTNN_INLINE static inline __attribute__((always_inline, unused))

FASTNN_INLINE vreal v_load(const real *p) { return *(const vreal *)p; }
FASTNN_INLINE void v_store(real *p, vreal v) { *(vreal *)p = v; }
FASTNN_INLINE vreal v_set(real x) { return x - (vreal){0}; }

/* To memory past the caches, without a read of the line before. p is a multiple of VECTOR_BYTES, and
 * v_end_stream makes the stores of this thread visible before those that follow it. */
FASTNN_INLINE void v_stream(real *p, vreal v) {
#if defined(__clang__)
  __builtin_nontemporal_store(v, (vreal *)p);
#elif defined(__AVX512F__)
  _mm512_stream_si512((__m512i *)p, (__m512i)v);
#elif defined(__AVX__)
  _mm256_stream_si256((__m256i *)p, (__m256i)v);
#elif defined(__SSE2__)
  _mm_stream_si128((__m128i *)p, (__m128i)v);
#else
  v_store(p, v);
#endif
}
FASTNN_INLINE void v_end_stream(void) {
#if defined(__SSE2__)
  _mm_sfence();
#else
  __atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

/* Asks for the line of memory at p: to read it soon, to write it, or only into the second cache. */
FASTNN_INLINE void v_prefetch(const void *p) { __builtin_prefetch(p); }
FASTNN_INLINE void v_prefetch_to_write(void *p) { __builtin_prefetch(p, 1); }
FASTNN_INLINE void v_prefetch_to_second_cache(const void *p) { __builtin_prefetch(p, 0, 2); }

#if VECTOR_BYTES == 64 && !defined(FASTNN_DOUBLE)
#define LANE_NUMBERS 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#elif (VECTOR_BYTES == 64) || (VECTOR_BYTES == 32 && !defined(FASTNN_DOUBLE))
#define LANE_NUMBERS 0, 1, 2, 3, 4, 5, 6, 7
#elif (VECTOR_BYTES == 32) || !defined(FASTNN_DOUBLE)
#define LANE_NUMBERS 0, 1, 2, 3
#else
#define LANE_NUMBERS 0, 1
#endif

/* AVX2 loads and stores by a mask, eight branches less. Not under the sanitizer, which sees elements
 * that a loop takes, but not what an instruction masks. */
#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
#define LANES_BY_MASK
FASTNN_INLINE __m256i first_lanes(ptrdiff_t count) {
  return (__m256i)((vmask){LANE_NUMBERS} < (real_bits)count - (vmask){0});
}
#endif

/* The first `count` lanes only: neither reads nor writes beyond them; the rest is zero. */
FASTNN_INLINE vreal v_load_first(const real *p, ptrdiff_t count) {
#if defined(__AVX512F__) && defined(FASTNN_DOUBLE)
  return (vreal)_mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), p);
#elif defined(__AVX512F__)
  return (vreal)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#elif defined(LANES_BY_MASK) && defined(FASTNN_DOUBLE)
  return (vreal)_mm256_maskload_pd(p, first_lanes(count));
#elif defined(LANES_BY_MASK)
  return (vreal)_mm256_maskload_ps(p, first_lanes(count));
#else
  if (count >= LANES) return v_load(p);
  real lane[VECTOR_BYTES / sizeof(real)] = {0};
  V_SHORT_LOOP for (ptrdiff_t i = 0; i < count; i++) lane[i] = p[i];
  return v_load(lane);
#endif
}
FASTNN_INLINE void v_store_first(real *p, vreal v, ptrdiff_t count) {
#if defined(__AVX512F__) && defined(FASTNN_DOUBLE)
  _mm512_mask_storeu_pd(p, (__mmask8)((1u << count) - 1), (__m512d)v);
#elif defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#else
  /* A store by mask takes a dozen cycles on some processors. */
  if (count >= LANES) {
    v_store(p, v);
    return;
  }
#if defined(LANES_BY_MASK) && defined(FASTNN_DOUBLE)
  _mm256_maskstore_pd(p, first_lanes(count), (__m256d)v);
#elif defined(LANES_BY_MASK)
  _mm256_maskstore_ps(p, first_lanes(count), (__m256)v);
#else
  real lane[VECTOR_BYTES / sizeof(real)];
  v_store(lane, v);
  V_SHORT_LOOP for (ptrdiff_t i = 0; i < count; i++) p[i] = lane[i];
#endif
#endif
}

/* Lane i is p[i * stride], for the first `count` lanes; the rest is zero, or not stored. */
FASTNN_INLINE vreal v_load_strided(const real *p, ptrdiff_t stride, ptrdiff_t count) {
#if defined(__AVX512F__) && !defined(FASTNN_DOUBLE)
  const vmask at = (vmask){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} * (int32_t)stride;
  return (vreal)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), (__mmask16)((1u << count) - 1),
                                         (__m512i)at, p, sizeof(real));
#else
  vreal v = {0};
  for (ptrdiff_t i = 0; i < LANES; i++)
    if (i < count) v[i] = p[i * stride];
  return v;
#endif
}
FASTNN_INLINE void v_store_strided(real *p, vreal v, ptrdiff_t stride, ptrdiff_t count) {
#if defined(__AVX512F__) && !defined(FASTNN_DOUBLE)
  const vmask at = (vmask){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} * (int32_t)stride;
  _mm512_mask_i32scatter_ps(p, (__mmask16)((1u << count) - 1), (__m512i)at, (__m512)v, sizeof(real));
#else
  for (ptrdiff_t i = 0; i < LANES; i++)
    if (i < count) p[i * stride] = v[i];
#endif
}

/* Comparisons with a NaN are false in every lane that holds one. */
FASTNN_INLINE vmask v_less(vreal a, vreal b) { return (vmask)(a < b); }
FASTNN_INLINE vmask v_less_equal(vreal a, vreal b) { return (vmask)(a <= b); }
FASTNN_INLINE vmask v_equal(vreal a, vreal b) { return (vmask)(a == b); }
FASTNN_INLINE vmask v_and_not(vmask a, vmask b) { return a & ~b; }
FASTNN_INLINE vmask v_or(vmask a, vmask b) { return a | b; }
FASTNN_INLINE vreal v_select(vmask mask, vreal a, vreal b) {
  return (vreal)((mask & (vmask)a) | (~mask & (vmask)b));
}
/* a where x <= 0, else b: also where x is NaN. */
FASTNN_INLINE vreal v_select_not_positive(vreal x, vreal a, vreal b) {
#if defined(__AVX512F__) && defined(FASTNN_DOUBLE)
  return (vreal)_mm512_mask_blend_pd(
      _mm512_cmp_pd_mask((__m512d)x, _mm512_setzero_pd(), _CMP_LE_OQ), (__m512d)b, (__m512d)a);
#elif defined(__AVX512F__)
  return (vreal)_mm512_mask_blend_ps(
      _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_LE_OQ), (__m512)b, (__m512)a);
#else
  return v_select(v_less_equal(x, v_set(0)), a, b);
#endif
}
/* v, or the limit where v is below it, or above it; NaN stays. */
FASTNN_INLINE vreal v_at_least(vreal v, real limit) {
#if defined(__AVX512F__) && defined(FASTNN_DOUBLE)
  return (vreal)_mm512_max_pd((__m512d)v_set(limit), (__m512d)v);
#elif defined(__AVX512F__)
  return (vreal)_mm512_max_ps((__m512)v_set(limit), (__m512)v);
#else
  return v_select(v_less(v, v_set(limit)), v_set(limit), v);
#endif
}
FASTNN_INLINE vreal v_at_most(vreal v, real limit) {
#if defined(__AVX512F__) && defined(FASTNN_DOUBLE)
  return (vreal)_mm512_min_pd((__m512d)v_set(limit), (__m512d)v);
#elif defined(__AVX512F__)
  return (vreal)_mm512_min_ps((__m512)v_set(limit), (__m512)v);
#else
  return v_select(v_less(v_set(limit), v), v_set(limit), v);
#endif
}
/* v where the mask is false, zero where it is true. */
FASTNN_INLINE vreal v_zero_where(vmask mask, vreal v) { return (vreal)((vmask)v & ~mask); }
/* The larger of both; NaN if either is NaN. */
FASTNN_INLINE vreal v_max(vreal a, vreal b) {
  vmask keep = (vmask)(a >= b) | (vmask)(a != a);
  return v_select(keep, a, b);
}
FASTNN_INLINE vreal v_abs(vreal v) {
  const vmask sign = (vmask){0} + ((real_bits)1 << (8 * sizeof(real) - 1));
  return (vreal)((vmask)v & ~sign);
}
FASTNN_INLINE vreal v_copy_sign(vreal magnitude, vreal sign_of) {
  const vmask sign = (vmask){0} + ((real_bits)1 << (8 * sizeof(real) - 1));
  return (vreal)(((vmask)magnitude & ~sign) | ((vmask)sign_of & sign));
}
FASTNN_INLINE vreal v_sqrt(vreal v) {
  vreal root;
  for (int i = 0; i < LANES; i++) root[i] = sizeof(real) == 4 ? sqrtf(v[i]) : sqrt(v[i]);
  return root;
}

/* x = m 2^e with m in [1, 2), for a positive, normal x. */
FASTNN_INLINE vreal v_mantissa(vreal x) {
  const vmask mantissa = (vmask){0} + (((real_bits)1 << REAL_MANTISSA_BITS) - 1);
  const vmask one = (vmask){0} + ((real_bits)REAL_EXPONENT_BIAS << REAL_MANTISSA_BITS);
  return (vreal)(((vmask)x & mantissa) | one);
}
FASTNN_INLINE vreal v_exponent(vreal x) {
  return __builtin_convertvector(((vmask)x >> REAL_MANTISSA_BITS) - REAL_EXPONENT_BIAS, vreal);
}

/* To the nearest whole number, for |v| below 2^31 (anything beyond, and for NaN). */
FASTNN_INLINE vreal v_round(vreal v) {
#if defined(__AVX512F__) && defined(FASTNN_DOUBLE)
  return (vreal)_mm512_roundscale_pd((__m512d)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX512F__)
  return (vreal)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  vreal away_from_zero = v + v_copy_sign(v_set((real)0.5), v);
  return __builtin_convertvector(__builtin_convertvector(away_from_zero, vmask), vreal);
#endif
}
/* v * 2^n for whole n in [-2 bias, 2 bias]: in two factors, so that neither leaves the exponent's range. */
FASTNN_INLINE vreal v_scale_by_power(vreal v, vreal n) {
#if defined(__AVX512F__) && defined(FASTNN_DOUBLE)
  return (vreal)_mm512_scalef_pd((__m512d)v, (__m512d)n);
#elif defined(__AVX512F__)
  return (vreal)_mm512_scalef_ps((__m512)v, (__m512)n);
#else
  vmask whole = __builtin_convertvector(n, vmask), half = whole >> 1;
  vreal first = (vreal)((half + REAL_EXPONENT_BIAS) << REAL_MANTISSA_BITS);
  vreal second = (vreal)((whole - half + REAL_EXPONENT_BIAS) << REAL_MANTISSA_BITS);
  return v * first * second;
#endif
}
/* Zero for what is too small to be a normal number: arithmetic on such numbers is many times slower. */
FASTNN_INLINE vreal v_flush(vreal v) {
  const vmask exponent = (vmask)v_set((real)__builtin_inf());  // all bits of it, and no others
  return v_zero_where(((vmask)v & exponent) == 0, v);
}

/* Whole numbers, one to a lane as wide as a real; 0 to 65535 where they lie in memory. */
FASTNN_INLINE vmask v_set_whole(ptrdiff_t n) { return (vmask){0} + (real_bits)n; }
FASTNN_INLINE vmask v_same(vmask a, vmask b) { return (vmask)(a == b); }
FASTNN_INLINE vmask v_select_whole(vmask mask, vmask a, vmask b) { return (mask & a) | (~mask & b); }
typedef uint16_t vshort __attribute__((vector_size(VECTOR_BYTES / sizeof(real) * 2), aligned(2), may_alias));
FASTNN_INLINE vmask v_load_short(const uint16_t *p) {
  return __builtin_convertvector(*(const vshort *)p, vmask);
}
FASTNN_INLINE void v_store_short(uint16_t *p, vmask v) {
  *(vshort *)p = __builtin_convertvector(v, vshort);
}
FASTNN_INLINE vmask v_load_first_short(const uint16_t *p, ptrdiff_t count) {
#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(FASTNN_DOUBLE)
  vshort v = (vshort)_mm_maskz_loadu_epi16((__mmask8)((1u << count) - 1), p);
#elif defined(__AVX512BW__) && defined(__AVX512VL__)
  vshort v = (vshort)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), p);
#else
  vshort v = {0};
  for (ptrdiff_t i = 0; i < LANES; i++)
    if (i < count) v[i] = p[i];
#endif
  return __builtin_convertvector(v, vmask);
}
FASTNN_INLINE void v_store_first_short(uint16_t *p, vmask whole, ptrdiff_t count) {
  vshort v = __builtin_convertvector(whole, vshort);
#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(FASTNN_DOUBLE)
  _mm_mask_storeu_epi16(p, (__mmask8)((1u << count) - 1), (__m128i)v);
#elif defined(__AVX512BW__) && defined(__AVX512VL__)
  _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1), (__m256i)v);
#else
  for (ptrdiff_t i = 0; i < LANES; i++)
    if (i < count) p[i] = v[i];
#endif
}

/* Sum over the lanes, by halves: one order for every build of the same width. */
FASTNN_INLINE real v_sum(vreal v) {
  real lane[VECTOR_BYTES / sizeof(real)];
  memcpy(lane, &v, sizeof v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}
FASTNN_INLINE real v_largest(vreal v) {
  real lane[VECTOR_BYTES / sizeof(real)];
  memcpy(lane, &v, sizeof v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) {
      real a = lane[i], b = lane[i + half];
      lane[i] = a >= b || a != a ? a : b;
    }
  return lane[0];
}

/* a0 b0 a1 b1 ... of the lower, or of the upper halves: the step of a transpose. */
#if VECTOR_BYTES == 64 && !defined(FASTNN_DOUBLE)
#define LOW_LANES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_LANES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif (VECTOR_BYTES == 64) || (VECTOR_BYTES == 32 && !defined(FASTNN_DOUBLE))
#define LOW_LANES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_LANES 4, 12, 5, 13, 6, 14, 7, 15
#elif (VECTOR_BYTES == 32) || !defined(FASTNN_DOUBLE)
#define LOW_LANES 0, 4, 1, 5
#define HIGH_LANES 2, 6, 3, 7
#else
#define LOW_LANES 0, 2
#define HIGH_LANES 1, 3
#endif
#if defined(__clang__)
#define V_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define V_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vmask){__VA_ARGS__})
#endif
FASTNN_INLINE vreal v_interleave_low(vreal a, vreal b) { return V_SHUFFLE(a, b, LOW_LANES); }
FASTNN_INLINE vreal v_interleave_high(vreal a, vreal b) { return V_SHUFFLE(a, b, HIGH_LANES); }

/* Lane i is element lanes[i] of a and b, one behind the other. */
FASTNN_INLINE vreal v_pick(vreal a, vreal b, vmask lanes) {
#if defined(__clang__)
  vreal v;
  for (int i = 0; i < LANES; i++) v[i] = lanes[i] < LANES ? a[lanes[i]] : b[lanes[i] - LANES];
  return v;
#else
  return __builtin_shuffle(a, b, lanes);
#endif
}
/* Vector `part` (a literal 0, 1 or 2) of a0 b0 c0 a1 b1 c1 ..., and of the way back: every third
 * element, from number `part` on, of the three vectors a, b, c. */
FASTNN_INLINE vreal v_interleave_three(vreal a, vreal b, vreal c, const int part) {
  const vmask lane = (vmask){LANE_NUMBERS}, number = lane + part * LANES;
  const vmask from = number / 3, which = number - 3 * from;
  vreal ab = v_pick(a, b, from + ((vmask)(which == 1) & LANES));
  return v_pick(ab, c, v_select_whole((vmask)(which == 2), from + LANES, lane));
}
FASTNN_INLINE vreal v_every_third(vreal a, vreal b, vreal c, const int part) {
  const vmask lane = (vmask){LANE_NUMBERS}, number = 3 * lane + part;
  vreal ab = v_pick(a, b, number & (2 * LANES - 1));
  return v_pick(ab, c, v_select_whole((vmask)(number >= 2 * LANES), number - LANES, lane));
}
