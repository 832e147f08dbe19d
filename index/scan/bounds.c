#include "kernels.h"

#include <math.h>
#include <string.h>

/* A sum of 65,536 products of 255 and 128 fits into 32 bits. */
typedef struct {
  int32_t high, low;
} sums;

/* AHEAD is how many bytes before their turn codes are asked for: the processor's own prefetching stops at each page. */
enum { HEAD = 8, AHEAD = 4096 };

static inline sums product_plain(const uint8_t *c, const int8_t *high, const int8_t *low, size_t dim) {
  sums s = {0, 0};
  for (size_t i = 0; i < dim; i++) {
    s.high += c[i] * high[i];
    s.low += c[i] * low[i];
  }
  return s;
}

#define PARAMETERS                                                                                   \
  const uint8_t *codes, size_t dim, size_t n, const int8_t *high, const int8_t *low, int64_t offset, \
      double step, double loose, double norm, double least, uint32_t *at, double *bounds

/* The scan with one of the products, which the compiler puts into it. NaN is not left out. */
#define BOUNDS(product)                                                                                \
  size_t found = 0;                                                                                    \
  for (size_t i = 0; i < n; i++, codes += HEAD + dim) {                                                \
    float s, e;                                                                                        \
    memcpy(&s, codes, sizeof(s));                                                                      \
    memcpy(&e, codes + sizeof(s), sizeof(e));                                                          \
    sums p = product(codes + HEAD, high, low, dim);                                                    \
    double bound = s * (step * (double)(256 * (int64_t)p.high + p.low - offset) + loose) + norm * e;   \
    if (!(bound < least)) {                                                                            \
      at[found] = (uint32_t)i;                                                                         \
      bounds[found++] = isnan(bound) ? INFINITY : bound;                                               \
    }                                                                                                  \
  }                                                                                                    \
  return found

static size_t bounds_plain(PARAMETERS) { BOUNDS(product_plain); }

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* VPMADDUBSW saturates, so the bytes are widened first. */
AVX2 static inline sums product_avx2(const uint8_t *c, const int8_t *high, const int8_t *low, size_t dim) {
  __m256i h = _mm256_setzero_si256(), l = h;
  size_t i = 0;
  for (; i + 16 <= dim; i += 16) {
    if (i % 64 == 0) {
      _mm_prefetch((const char *)c + i + AHEAD, _MM_HINT_T0);
    }
    __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(c + i)));
    __m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(high + i)));
    __m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(low + i)));
    h = _mm256_add_epi32(h, _mm256_madd_epi16(x, a));
    l = _mm256_add_epi32(l, _mm256_madd_epi16(x, b));
  }
  int32_t v[8], w[8];
  _mm256_storeu_si256((__m256i *)v, h);
  _mm256_storeu_si256((__m256i *)w, l);
  sums s = product_plain(c + i, high + i, low + i, dim - i);
  for (int j = 0; j < 8; j++) {
    s.high += v[j];
    s.low += w[j];
  }
  return s;
}

AVX2 static size_t bounds_avx2(PARAMETERS) { BOUNDS(product_avx2); }

VNNI static inline sums product_vnni(const uint8_t *c, const int8_t *high, const int8_t *low, size_t dim) {
  __m512i h = _mm512_setzero_si512(), l = h, h2 = h, l2 = h;
  size_t i = 0;
  for (; i + 128 <= dim; i += 128) { /* two sums each: one alone would wait for itself */
    _mm_prefetch((const char *)c + i + AHEAD, _MM_HINT_T0);
    _mm_prefetch((const char *)c + i + AHEAD + 64, _MM_HINT_T0);
    __m512i x = _mm512_loadu_si512(c + i), y = _mm512_loadu_si512(c + i + 64);
    h = _mm512_dpbusd_epi32(h, x, _mm512_loadu_si512(high + i));
    l = _mm512_dpbusd_epi32(l, x, _mm512_loadu_si512(low + i));
    h2 = _mm512_dpbusd_epi32(h2, y, _mm512_loadu_si512(high + i + 64));
    l2 = _mm512_dpbusd_epi32(l2, y, _mm512_loadu_si512(low + i + 64));
  }
  for (; i < dim; i += 64) {
    __mmask64 m = dim - i < 64 ? ((__mmask64)1 << (dim - i)) - 1 : ~(__mmask64)0;
    __m512i x = _mm512_maskz_loadu_epi8(m, c + i);
    h = _mm512_dpbusd_epi32(h, x, _mm512_maskz_loadu_epi8(m, high + i));
    l = _mm512_dpbusd_epi32(l, x, _mm512_maskz_loadu_epi8(m, low + i));
  }
  sums s = {_mm512_reduce_add_epi32(_mm512_add_epi32(h, h2)), _mm512_reduce_add_epi32(_mm512_add_epi32(l, l2))};
  return s;
}

VNNI static size_t bounds_vnni(PARAMETERS) { BOUNDS(product_vnni); }

int goclip_scan_unit(void) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    return GOCLIP_SCAN_PLAIN;
  }
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512vnni")
             ? GOCLIP_SCAN_VNNI
             : GOCLIP_SCAN_AVX2;
}

#else

int goclip_scan_unit(void) { return GOCLIP_SCAN_PLAIN; }

#endif

size_t goclip_scan_bounds(int unit, PARAMETERS) {
#ifdef __x86_64__
  if (unit != GOCLIP_SCAN_PLAIN) {
    return (unit == GOCLIP_SCAN_VNNI ? bounds_vnni : bounds_avx2)(codes, dim, n, high, low, offset, step, loose, norm,
                                                                  least, at, bounds);
  }
#endif
  (void)unit;
  return bounds_plain(codes, dim, n, high, low, offset, step, loose, norm, least, at, bounds);
}
