#include "kernels.h"

#include <math.h>

/* The sums of lanes 8, 4, 2 and 1 apart. */
static inline float sum_of(float *lane) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) {
      lane[i] += lane[i + half];
    }
  }
  return lane[0];
}

static void dots_plain(const float *rows, size_t dim, const uint32_t *at, size_t n, const float *query, float *out) {
  for (size_t r = 0; r < n; r++) {
    const float *row = rows + dim * (at != NULL ? at[r] : r);
    float lane[16] = {0};
    for (size_t i = 0; i < dim; i++) {
      lane[i % 16] = fmaf(row[i], query[i], lane[i % 16]);
    }
    out[r] = sum_of(lane);
  }
}

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

/* Rows go four abreast: one alone would wait for its own sums. */
enum { ABREAST = 4 };

/* The rows from r on; the last one again where there are no more. */
static inline void choose(const float **row, const float *rows, size_t dim, const uint32_t *at, size_t n, size_t r) {
  for (size_t k = 0; k < ABREAST; k++) {
    size_t i = r + k < n ? r + k : n - 1;
    row[k] = rows + dim * (at != NULL ? at[i] : i);
  }
}

__attribute__((target("avx2,fma"))) static void dots_avx2(const float *rows, size_t dim, const uint32_t *at, size_t n,
                                                          const float *query, float *out) {
  const size_t whole = dim - dim % 16;
  float last[16] = {0};
  memcpy(last, query + whole, sizeof(float) * (dim - whole));
  for (size_t r = 0; r < n; r += ABREAST) {
    const float *row[ABREAST];
    choose(row, rows, dim, at, n, r);
    __m256 a[ABREAST], b[ABREAST];
    for (int k = 0; k < ABREAST; k++) {
      a[k] = b[k] = _mm256_setzero_ps();
    }
    for (size_t i = 0; i < whole; i += 16) {
      __m256 p = _mm256_loadu_ps(query + i), q = _mm256_loadu_ps(query + i + 8);
      for (int k = 0; k < ABREAST; k++) {
        a[k] = _mm256_fmadd_ps(_mm256_loadu_ps(row[k] + i), p, a[k]);
        b[k] = _mm256_fmadd_ps(_mm256_loadu_ps(row[k] + i + 8), q, b[k]);
      }
    }
    for (size_t k = 0; k < ABREAST && r + k < n; k++) {
      if (whole < dim) {
        float rest[16] = {0};
        memcpy(rest, row[k] + whole, sizeof(float) * (dim - whole));
        a[k] = _mm256_fmadd_ps(_mm256_loadu_ps(rest), _mm256_loadu_ps(last), a[k]);
        b[k] = _mm256_fmadd_ps(_mm256_loadu_ps(rest + 8), _mm256_loadu_ps(last + 8), b[k]);
      }
      float lane[16];
      _mm256_storeu_ps(lane, _mm256_add_ps(a[k], b[k]));
      for (int half = 4; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
          lane[i] += lane[i + half];
        }
      }
      out[r + k] = lane[0];
    }
  }
}

__attribute__((target("avx512f"))) static void dots_avx512(const float *rows, size_t dim, const uint32_t *at, size_t n,
                                                           const float *query, float *out) {
  const size_t whole = dim - dim % 16;
  const __mmask16 rest = (__mmask16)((1u << (dim - whole)) - 1);
  for (size_t r = 0; r < n; r += ABREAST) {
    const float *row[ABREAST];
    choose(row, rows, dim, at, n, r);
    __m512 a[ABREAST];
    for (int k = 0; k < ABREAST; k++) {
      a[k] = _mm512_setzero_ps();
    }
    for (size_t i = 0; i < whole; i += 16) {
      __m512 q = _mm512_loadu_ps(query + i);
      for (int k = 0; k < ABREAST; k++) {
        _mm_prefetch((const char *)(row[k] + ABREAST * dim + i), _MM_HINT_T0); /* the next four, where rows are in order */
        a[k] = _mm512_fmadd_ps(_mm512_loadu_ps(row[k] + i), q, a[k]);
      }
    }
    for (size_t k = 0; k < ABREAST && r + k < n; k++) {
      if (rest != 0) {
        a[k] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(rest, row[k] + whole), _mm512_maskz_loadu_ps(rest, query + whole), a[k]);
      }
      float lane[16];
      _mm512_storeu_ps(lane, a[k]);
      out[r + k] = sum_of(lane);
    }
  }
}

#endif

void goclip_scan_dots(int unit, const float *rows, size_t dim, const uint32_t *at, size_t n, const float *query,
                      float *out) {
#ifdef __x86_64__
  if (unit != GOCLIP_SCAN_PLAIN) {
    (unit == GOCLIP_SCAN_VNNI ? dots_avx512 : dots_avx2)(rows, dim, at, n, query, out);
    return;
  }
#endif
  (void)unit;
  dots_plain(rows, dim, at, n, query, out);
}
