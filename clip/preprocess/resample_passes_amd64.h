/*
 * The two passes, written once for blocks of 16 sums. resample_amd64.c includes this file once for each kind of vector
 * unit, having defined NAME, TARGET, block, and block_half, block_add and block_clip.
 */

/*
 * Puts the columns of some rows into 16 bytes each: four rows of four bytes, eight of two or sixteen of one. Three
 * channels take the next pixel's first byte with them; it is written over when the result is laid out again.
 */
TARGET static inline __attribute__((always_inline)) void NAME(gather)(uint8_t *packed, const uint8_t *const *row,
                                                                      int cols, const int n) {
  const int size = n == 3 ? 4 : n, group = LANES / size, whole = n == 3 ? cols - 1 : cols;
  for (int c = 0; c < whole; c++) {
    for (int r = 0; r < group; r++) {
      memcpy(packed + LANES * (size_t)c + size * r, row[r] + (size_t)n * c, size);
    }
  }
  for (int r = 0; n == 3 && r < group; r++) { /* the byte after the last pixel may not be there */
    memcpy(packed + LANES * (size_t)whole + size * r, row[r] + (size_t)n * whole, n);
  }
}

TARGET static inline __attribute__((always_inline)) void NAME(across_n)(const pass *a, const int n) {
  const int size = n == 3 ? 4 : n, group = LANES / size;
  for (int y = 0; y < a->rows; y += group) {
    const uint8_t *from[LANES];
    uint8_t *to[LANES];
    for (int r = 0; r < group; r++) { /* the last row stands in for those that are missing */
      size_t at = (size_t)(y + r < a->rows ? y + r : a->rows - 1);
      from[r] = a->src + a->src_stride * at;
      to[r] = a->dst + a->dst_stride * at;
    }
    NAME(gather)(a->scratch, from, a->cols, n);
    for (int i = 0; i < a->count; i++) {
      const uint8_t *p = a->scratch + LANES * (size_t)(a->first[i] - a->base);
      const int32_t *k = a->k + (size_t)a->stride * i;
      block sums = NAME(block_half)();
      for (int t = 0; t < a->taps; t++, p += LANES) {
        sums = NAME(block_add)(sums, p, k[t]);
      }
      uint8_t out[LANES];
      _mm_storeu_si128((__m128i *)(out), NAME(block_clip)(sums));
      if (i + 1 < a->count) {
        for (int r = 0; r < group; r++) {
          memcpy(to[r] + n * (size_t)i, out + size * r, size);
        }
      } else {
        for (int r = 0; r < group; r++) {
          memcpy(to[r] + n * (size_t)i, out + size * r, n);
        }
      }
    }
  }
}

TARGET static void NAME(across)(const pass *a, int n) {
  switch (n) {
    case 1:
      NAME(across_n)(a, 1);
      break;
    case 2:
      NAME(across_n)(a, 2);
      break;
    case 3:
      NAME(across_n)(a, 3);
      break;
    default:
      NAME(across_n)(a, 4);
  }
}

TARGET static void NAME(down)(const pass *a, const int32_t *n, size_t length) {
  uint8_t *dst = a->dst;
  for (int i = 0; i < a->count; i++, dst += a->dst_stride) {
    const uint8_t *rows = a->src + a->src_stride * (size_t)(a->first[i] - a->base);
    const int32_t *k = a->k + (size_t)a->stride * i;
    size_t x = 0;
    for (; x + 4 * LANES <= length; x += 4 * LANES) {
      block s0 = NAME(block_half)(), s1 = s0, s2 = s0, s3 = s0;
      const uint8_t *p = rows + x;
      for (int t = 0; t < n[i]; t++, p += a->src_stride) {
        s0 = NAME(block_add)(s0, p, k[t]);
        s1 = NAME(block_add)(s1, p + LANES, k[t]);
        s2 = NAME(block_add)(s2, p + 2 * LANES, k[t]);
        s3 = NAME(block_add)(s3, p + 3 * LANES, k[t]);
      }
      _mm_storeu_si128((__m128i *)(dst + x), NAME(block_clip)(s0));
      _mm_storeu_si128((__m128i *)(dst + x + LANES), NAME(block_clip)(s1));
      _mm_storeu_si128((__m128i *)(dst + x + 2 * LANES), NAME(block_clip)(s2));
      _mm_storeu_si128((__m128i *)(dst + x + 3 * LANES), NAME(block_clip)(s3));
    }
    for (; x + LANES <= length; x += LANES) {
      block s = NAME(block_half)();
      for (int t = 0; t < n[i]; t++) {
        s = NAME(block_add)(s, rows + x + a->src_stride * (size_t)t, k[t]);
      }
      _mm_storeu_si128((__m128i *)(dst + x), NAME(block_clip)(s));
    }
    for (; x < length; x++) {
      int32_t s = HALF;
      for (int t = 0; t < n[i]; t++) {
        s += rows[x + a->src_stride * (size_t)t] * k[t];
      }
      dst[x] = clip8(s);
    }
  }
}
