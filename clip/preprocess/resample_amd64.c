//go:build cgo

#include "resample_amd64.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = 16, PRECISION = 22, HALF = 1 << (PRECISION - 1) };

/* What one pass reads and writes. */
typedef struct {
  uint8_t *dst, *scratch;
  const uint8_t *src;
  const int32_t *first, *k;
  size_t dst_stride, src_stride;
  int rows, cols, base, stride, taps, count;
} pass;

/* Pillow's clip8: the integer part, held between 0 and 255. */
static inline uint8_t clip8(int32_t v) {
  v >>= PRECISION;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

#define TARGET __attribute__((target("avx2")))
#define NAME(f) avx2_##f
#define block avx2_block

typedef struct {
  __m256i lo, hi;
} avx2_block;

TARGET static inline avx2_block avx2_block_half(void) {
  avx2_block s = {_mm256_set1_epi32(HALF), _mm256_set1_epi32(HALF)};
  return s;
}

TARGET static inline avx2_block avx2_block_add(avx2_block s, const uint8_t *p, int32_t k) {
  __m256i w = _mm256_set1_epi32(k);
  __m256i lo = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
  __m256i hi = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)));
  s.lo = _mm256_add_epi32(s.lo, _mm256_mullo_epi32(lo, w));
  s.hi = _mm256_add_epi32(s.hi, _mm256_mullo_epi32(hi, w));
  return s;
}

TARGET static inline __m128i avx2_block_clip(avx2_block s) {
  __m256i v = _mm256_packs_epi32(_mm256_srai_epi32(s.lo, PRECISION), _mm256_srai_epi32(s.hi, PRECISION));
  v = _mm256_permute4x64_epi64(v, 0xd8); /* packs works within 128 bits */
  return _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

#include "resample_passes_amd64.h"
#undef TARGET
#undef NAME
#undef block

#define TARGET __attribute__((target("avx512f")))
#define NAME(f) avx512_##f
#define block __m512i

TARGET static inline __m512i avx512_block_half(void) { return _mm512_set1_epi32(HALF); }

TARGET static inline __m512i avx512_block_add(__m512i s, const uint8_t *p, int32_t k) {
  __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  return _mm512_add_epi32(s, _mm512_mullo_epi32(v, _mm512_set1_epi32(k)));
}

TARGET static inline __m128i avx512_block_clip(__m512i s) {
  return _mm512_cvtusepi32_epi8(_mm512_max_epi32(_mm512_srai_epi32(s, PRECISION), _mm512_setzero_si512()));
}

#include "resample_passes_amd64.h"
#undef TARGET
#undef NAME
#undef block

int goclip_vector_unit(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f")) {
    return __builtin_cpu_supports("avx2") ? GOCLIP_AVX2 : GOCLIP_NO_VECTORS;
  }
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi")
             ? GOCLIP_VNNI
             : GOCLIP_AVX512;
}

void goclip_across(int unit, uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int rows, int cols,
                   int n, const int32_t *first, int left, const int32_t *k, int stride, int taps, int count,
                   uint8_t *scratch) {
  pass a = {dst, scratch, src, first, k, dst_stride, src_stride, rows, cols, left, stride, taps, count};
  memset(scratch + LANES * (size_t)cols, 0, LANES * (size_t)taps);
  (unit >= GOCLIP_AVX512 ? avx512_across : avx2_across)(&a, n);
}

void goclip_down(int unit, uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, size_t length,
                 const int32_t *first, const int32_t *n, int top, const int32_t *k, int stride, int count) {
  pass a = {dst, NULL, src, first, k, dst_stride, src_stride, 0, 0, top, stride, 0, count};
  (unit >= GOCLIP_AVX512 ? avx512_down : avx2_down)(&a, n, length);
}
