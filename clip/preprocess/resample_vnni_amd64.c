//go:build cgo

#include "resample_vnni_amd64.h"

#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")))
#define INLINE TARGET static inline __attribute__((always_inline))

/*
 * A weight of 24 bits is three signed bytes: k = 65536 h + 256 m + l. vpdpbusd adds four products of a pixel byte and
 * such a byte to a 32-bit sum, so a quad of taps costs three of them. The sum of the low bytes is shifted down before
 * the next ones come on top, which cuts off what the last shift would cut off anyway: the result is equal to the bit to
 * that of a single sum, as long as that one keeps within 32 bits. fused.go sees to it.
 */
enum { HALF = 1 << 21, REST = 22 - 16, LANES = 16, QUAD = 4, ACROSS = 4 * 64, DOWN = 3 * 4, BLOCK = 3 * 64 };

/*
 * The sums of nq quads in count vectors: pixel values with REST bits behind the point, not clipped yet. The vectors go
 * abreast: one after the other, each would wait for its own last product.
 */
INLINE void weigh(__m512i *s, const int count, __m512i v[][QUAD], const __m512i *h, const __m512i *m, const __m512i *l,
                  const int nq) {
  const __m512i *digits[] = {l, m, h};
  for (int i = 0; i < count; i++) {
    s[i] = _mm512_set1_epi32(HALF);
  }
  for (int d = 0; d < 3; d++) {
    for (int i = 0; i < count && d > 0; i++) {
      s[i] = _mm512_srai_epi32(s[i], 8);
    }
    for (int q = 0; q < nq; q++) {
      for (int i = 0; i < count; i++) {
        s[i] = _mm512_dpbusd_epi32(s[i], v[i][q], digits[d][q]);
      }
    }
  }
}

/*
 * The whole pixel values of four vectors of sums, clipped to 0 and 255. Of each 16 bytes, four come from a, four from b
 * and so on.
 */
INLINE __m512i clip(__m512i a, __m512i b, __m512i c, __m512i d) {
  __m512i ab = _mm512_srai_epi16(_mm512_packs_epi32(a, b), REST);
  __m512i cd = _mm512_srai_epi16(_mm512_packs_epi32(c, d), REST);
  return _mm512_packus_epi16(ab, cd);
}

/*
 * The horizontal pass over four rows: out gets, for each byte of a row, the four rows' bytes. A group of 16 bytes looks
 * up each tap in the 64 bytes of a row from at on. n groups go abreast, one or two.
 */
INLINE void across_groups(uint8_t *out, const uint8_t *const *row, const int8_t *table, const int32_t *at, const int nq,
                          const int n) {
  const __m512i by_byte = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m512i v[2 * QUAD][QUAD], s[2 * QUAD];
  for (int q = 0; q < nq * n; q++) {
    __m512i pick = _mm512_loadu_si512(table + ACROSS * q);
    for (int r = 0; r < QUAD; r++) {
      v[QUAD * (q / nq) + r][q % nq] = _mm512_permutexvar_epi8(pick, _mm512_loadu_si512(row[r] + at[q]));
    }
  }
  for (int i = 0; i < QUAD * n; i++) {
    s[i] = _mm512_set1_epi32(HALF);
  }
  for (int digit = 3; digit > 0; digit--) {
    for (int i = 0; i < QUAD * n && digit < 3; i++) {
      s[i] = _mm512_srai_epi32(s[i], 8);
    }
    for (int q = 0; q < nq; q++) {
      for (int g = 0; g < n; g++) {
        __m512i k = _mm512_loadu_si512(table + ACROSS * (nq * g + q) + 64 * digit);
        for (int r = 0; r < QUAD; r++) {
          s[QUAD * g + r] = _mm512_dpbusd_epi32(s[QUAD * g + r], v[QUAD * g + r][q], k);
        }
      }
    }
  }
  for (int g = 0; g < n; g++) {
    const __m512i *p = s + QUAD * g;
    _mm512_storeu_si512(out + 64 * g, _mm512_shuffle_epi8(clip(p[0], p[1], p[2], p[3]), by_byte));
  }
}

INLINE void across_quad(uint8_t *out, const uint8_t *const *row, const int8_t *table, const int32_t *at, int groups,
                        const int nq) {
  int g = 0;
  for (; g + 2 <= groups; g += 2) {
    across_groups(out + 64 * (size_t)g, row, table + ACROSS * nq * (size_t)g, at + nq * g, nq, 2);
  }
  for (; g < groups; g++) {
    across_groups(out + 64 * (size_t)g, row, table + ACROSS * nq * (size_t)g, at + nq * g, nq, 1);
  }
}

/*
 * A division by a constant, rounded as a division is: x times its inverse, whose low part comes first. Whether this
 * holds for all values that occur is for goclip_norm_exact to say.
 */
INLINE __m512 divide(__m512 x, __m512 high, __m512 low) { return _mm512_fmadd_ps(x, high, _mm512_mul_ps(x, low)); }

typedef struct {
  __m512 byte[2], mean[3], std[3][2];
} normal;

INLINE normal normal_of(const float *p) {
  normal n;
  for (int i = 0; i < 2; i++) {
    n.byte[i] = _mm512_set1_ps(p[GOCLIP_NORM_BYTE + i]);
  }
  for (int c = 0; c < 3; c++) {
    n.mean[c] = _mm512_set1_ps(p[GOCLIP_NORM_MEAN + c]);
    n.std[c][0] = _mm512_set1_ps(p[GOCLIP_NORM_STD + 2 * c]);
    n.std[c][1] = _mm512_set1_ps(p[GOCLIP_NORM_STD + 2 * c + 1]);
  }
  return n;
}

/* Three channels of count / 3 blocks abreast. */
INLINE void normalise(const normal *n, __m512 *x, const int count) {
  for (int c = 0; c < count; c++) {
    x[c] = divide(x[c], n->byte[0], n->byte[1]);
  }
  for (int c = 0; c < count; c++) {
    x[c] = _mm512_sub_ps(x[c], n->mean[c % 3]);
  }
  for (int c = 0; c < count; c++) {
    x[c] = divide(x[c], n->std[c % 3][0], n->std[c % 3][1]);
  }
}

TARGET int goclip_norm_exact(const float *norm, const float *table) {
  const normal n = normal_of(norm);
  const __m512i step = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int v = 0; v < 256; v += LANES) {
    float out[LANES];
    __m512 x[3];
    x[0] = x[1] = x[2] = _mm512_cvtepi32_ps(_mm512_add_epi32(step, _mm512_set1_epi32(v)));
    normalise(&n, x, 3);
    for (int c = 0; c < 3; c++) {
      _mm512_storeu_ps(out, x[c]);
      if (memcmp(out, table + 256 * c + v, sizeof(out)) != 0) {
        return 0;
      }
    }
  }
  return 1;
}

/* The weights of four rows, for all lanes. */
INLINE __m512i four(const int8_t *k) {
  int32_t v;
  memcpy(&v, k, sizeof(v));
  return _mm512_set1_epi32(v);
}

/* From nq quads of rows, n blocks abreast: each makes 48 bytes of RGB, which become 16 pixels of three planes. */
INLINE void down_blocks(float *dst, size_t plane, __mmask16 inside, const uint8_t *const *quad, size_t at,
                        const __m512i *h, const __m512i *m, const __m512i *l, const normal *norm, const __m512i *pick,
                        const int nq, const int n) {
  __m512i v[6][QUAD], s[6];
  for (int i = 0; i < 3 * n; i++) {
    for (int q = 0; q < nq; q++) {
      v[i][q] = _mm512_loadu_si512(quad[q] + at + 64 * i);
    }
  }
  weigh(s, 3 * n, v, h, m, l, nq);
  __m512 x[6];
  for (int i = 0; i < n; i++) {
    __m512i bytes = clip(s[3 * i], s[3 * i + 1], s[3 * i + 2], s[3 * i + 2]);
    for (int c = 0; c < 3; c++) {
      x[3 * i + c] = _mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(0x1111111111111111, pick[c], bytes));
    }
  }
  normalise(norm, x, 3 * n);
  for (int i = 0; i < 3 * n; i++) {
    _mm512_mask_storeu_ps(dst + plane * (size_t)(i % 3) + LANES * (i / 3), inside, x[i]);
  }
}

/* One row of the result. */
INLINE void down_row(float *dst, size_t plane, int cols, const uint8_t *const *quad, const int8_t *k, const normal *n,
                     const __m512i *pick, const int nq) {
  __m512i h[QUAD], m[QUAD], l[QUAD];
  for (int q = 0; q < nq; q++) {
    h[q] = four(k + DOWN * q);
    m[q] = four(k + DOWN * q + 4);
    l[q] = four(k + DOWN * q + 8);
  }
  size_t at = 0;
  for (; cols >= 2 * LANES; cols -= 2 * LANES, at += 2 * BLOCK, dst += 2 * LANES) {
    down_blocks(dst, plane, 0xffff, quad, at, h, m, l, n, pick, nq, 2);
  }
  for (; cols >= LANES; cols -= LANES, at += BLOCK, dst += LANES) {
    down_blocks(dst, plane, 0xffff, quad, at, h, m, l, n, pick, nq, 1);
  }
  if (cols > 0) {
    down_blocks(dst, plane, (__mmask16)((1u << cols) - 1), quad, at, h, m, l, n, pick, nq, 1);
  }
}

TARGET int goclip_resample_normalise(float *dst, size_t plane, size_t pitch, int rows, int cols, int made,
                                     const uint8_t *src, size_t stride, int src_rows, const int8_t *across,
                                     const int32_t *across_at, int across_quads, const int8_t *down,
                                     const int32_t *down_at, int down_quads, uint8_t *ring, const float *norm) {
  const int blocks = (cols + LANES - 1) / LANES;
  const size_t length = BLOCK * (size_t)blocks;
  const normal n = normal_of(norm);
  /* Where channel c of a pixel lies after packing, which works within 128 bits. */
  __m512i pick[3];
  for (int c = 0; c < 3; c++) {
    uint8_t index[64] = {0};
    for (int i = 0; i < LANES; i++) {
      int lane = 3 * i + c;
      index[4 * i] = (uint8_t)(16 * (lane % LANES / 4) + 4 * (lane / LANES) + lane % 4);
    }
    pick[c] = _mm512_loadu_si512(index);
  }
  for (int y = 0; y < rows; y++, down += DOWN * down_quads, dst += pitch) {
    const int first = down_at[2 * y], count = down_at[2 * y + 1];
    for (; made < first + count; made++) {
      const uint8_t *row[QUAD];
      for (int r = 0; r < QUAD; r++) { /* the last row stands in for those that are missing */
        int at = QUAD * made + r < src_rows ? QUAD * made + r : src_rows - 1;
        row[r] = src + stride * (size_t)at;
      }
      uint8_t *out = ring + length * (size_t)(made % down_quads);
      switch (across_quads) {
        case 1:
          across_quad(out, row, across, across_at, 3 * blocks, 1);
          break;
        case 2:
          across_quad(out, row, across, across_at, 3 * blocks, 2);
          break;
        case 3:
          across_quad(out, row, across, across_at, 3 * blocks, 3);
          break;
        default:
          across_quad(out, row, across, across_at, 3 * blocks, 4);
      }
    }
    const uint8_t *quad[QUAD];
    for (int q = 0; q < count; q++) {
      quad[q] = ring + length * (size_t)((first + q) % down_quads);
    }
    switch (count) {
      case 1:
        down_row(dst, plane, cols, quad, down, &n, pick, 1);
        break;
      case 2:
        down_row(dst, plane, cols, quad, down, &n, pick, 2);
        break;
      case 3:
        down_row(dst, plane, cols, quad, down, &n, pick, 3);
        break;
      default:
        down_row(dst, plane, cols, quad, down, &n, pick, 4);
    }
  }
  return made;
}
