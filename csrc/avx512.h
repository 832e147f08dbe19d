// avx512.h: functions of 16 float32 in a register of AVX-512, and their loads and stores as float32 or bfloat16.
//
// A file includes it between #pragma GCC push_options with target("avx512f,avx512bw,avx512dq,avx512vl") and
// pop_options, and runs what it makes of it only where has_avx512() is true.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace goclip::avx512 {

constexpr int64_t lanes = 16;

// over is how many pieces of a size hold n, rounded up.
static inline int64_t over(int64_t n, int64_t by) { return (n + by - 1) / by; }

// first is a mask of n lanes, of none below 0 and of all from 16 on.
static inline __mmask16 first(int64_t n) { return n >= lanes ? 0xffff : n <= 0 ? 0 : (1u << n) - 1; }

// BFloat16 is a number's upper 16 bits.
struct BFloat16 {
  uint16_t bits;
};

static inline __m512 load(const float *from, __mmask16 in = 0xffff) { return _mm512_maskz_loadu_ps(in, from); }
static inline __m512 load(const BFloat16 *from, __mmask16 in = 0xffff) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, from)), 16));
}

static inline void store(float *to, __m512 x, __mmask16 in = 0xffff) { _mm512_mask_storeu_ps(to, in, x); }

// The nearest bfloat16, ties to even, as libtorch rounds; NaN stays NaN.
static inline void store(BFloat16 *to, __m512 x, __mmask16 in = 0xffff) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
  up = _mm512_mask_mov_epi32(up, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
  _mm256_mask_storeu_epi16(to, in, _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
}

// transpose turns 16 vectors of 16 numbers into their columns.
static inline void transpose(__m512 (&r)[16]) {
  __m512 s[16];
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
    s[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c)), s[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    s[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d)), s[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  // s[4 g + c] has of the vectors 4 g to 4 g + 3 the columns c, c + 4, c + 8, c + 12.
  for (int c = 0; c < 4; c++) {
    const __m512 a = _mm512_shuffle_f32x4(s[c], s[4 + c], 0x88), b = _mm512_shuffle_f32x4(s[8 + c], s[12 + c], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(s[c], s[4 + c], 0xdd), e = _mm512_shuffle_f32x4(s[8 + c], s[12 + c], 0xdd);
    r[c] = _mm512_shuffle_f32x4(a, b, 0x88), r[8 + c] = _mm512_shuffle_f32x4(a, b, 0xdd);
    r[4 + c] = _mm512_shuffle_f32x4(d, e, 0x88), r[12 + c] = _mm512_shuffle_f32x4(d, e, 0xdd);
  }
}

// Rows are those of a matrix of so many columns.
template <class T>
struct Rows {
  T *first;
  int64_t columns;

  T *at(int64_t row, int64_t column) const { return first + row * columns + column; }
};

// e^x for -80 <= x <= 88, and e^-80 below, because denormals are slow: 2^n times the Taylor series of what is left,
// within 2 ulp. NaN stays NaN: the operands of max are in the order that keeps it.
static inline __m512 exponential(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-80), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 y = _mm512_set1_ps(1.f / 5040);
  for (const float c : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f})
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(y, n);
}

// x Phi(x). The tail Phi(-|x|) is Abramowitz and Stegun's 7.1.26, within 7.5e-8.
static inline __m512 gelu(__m512 x) {
  const __m512 one = _mm512_set1_ps(1), a = _mm512_abs_ps(x);
  const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(a, _mm512_set1_ps(0.3275911f * 0.70710678f), one));
  __m512 p = _mm512_set1_ps(1.061405429f);
  for (const float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(c));
  const __m512 squared = _mm512_mul_ps(_mm512_mul_ps(a, a), _mm512_set1_ps(-0.5f));
  const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(p, t), _mm512_set1_ps(0.5f)), exponential(squared));
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mul_ps(x, _mm512_mask_sub_ps(tail, static_cast<__mmask16>(~negative), one, tail));
}

// x sigmoid(1.702 x).
static inline __m512 quick_gelu(__m512 x) {
  const __m512 e = exponential(_mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-1.702f)), _mm512_set1_ps(88)));
  return _mm512_div_ps(x, _mm512_add_ps(e, _mm512_set1_ps(1)));
}

// GELU's approximation by tanh, x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)) (Hendrycks and Gimpel, arXiv 1606.08415).
static inline __m512 tanh_argument(__m512 x) {
  const __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(0.044715f), _mm512_set1_ps(1));
  return _mm512_mul_ps(_mm512_mul_ps(x, cubic), _mm512_set1_ps(-1.5957691f));
}

static inline __m512 gelu_tanh(__m512 x) {
  const __m512 e = exponential(_mm512_min_ps(tanh_argument(x), _mm512_set1_ps(88)));
  return _mm512_div_ps(x, _mm512_add_ps(e, _mm512_set1_ps(1)));
}

// What follows is within 2^-12 of the result, for those that are then rounded to 16 bits or fewer.

// 2^x for -110 <= x <= 127, and 2^-110 below: 2^n times a polynomial of what is left.
static inline __m512 rough_power(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-110), x);
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT), r = _mm512_sub_ps(x, n);
  __m512 y = _mm512_set1_ps(0.009618129f);
  for (const float c : {0.0555041087f, 0.240226507f, 0.693147181f, 1.f}) y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(y, n);
}

static inline __m512 rough_gelu(__m512 x) {
  const __m512 one = _mm512_set1_ps(1), a = _mm512_abs_ps(x);
  const __m512 t = _mm512_rcp14_ps(_mm512_fmadd_ps(a, _mm512_set1_ps(0.3275911f * 0.70710678f), one));
  __m512 p = _mm512_set1_ps(1.061405429f / 2);
  for (const float c : {-1.453152027f / 2, 1.421413741f / 2, -0.284496736f / 2, 0.254829592f / 2})
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(c));
  const __m512 e = rough_power(_mm512_mul_ps(_mm512_mul_ps(a, a), _mm512_set1_ps(-0.5f * 1.44269504f)));
  const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(p, t), e);
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mul_ps(x, _mm512_mask_sub_ps(tail, static_cast<__mmask16>(~negative), one, tail));
}

static inline __m512 rough_quick_gelu(__m512 x) {
  const __m512 e =
      rough_power(_mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-1.702f * 1.44269504f)), _mm512_set1_ps(126)));
  return _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(e, _mm512_set1_ps(1))));
}

static inline __m512 rough_gelu_tanh(__m512 x) {
  const __m512 e =
      rough_power(_mm512_min_ps(_mm512_mul_ps(tanh_argument(x), _mm512_set1_ps(1.44269504f)), _mm512_set1_ps(126)));
  return _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(e, _mm512_set1_ps(1))));
}

}  // namespace goclip::avx512
