/* Pillow's two resampling passes over 8-bit channels, in its integer arithmetic, on the vector units of x86-64. */
#ifndef GOCLIP_PREPROCESS_RESAMPLE_H
#define GOCLIP_PREPROCESS_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

enum { GOCLIP_NO_VECTORS = 0, GOCLIP_AVX2 = 1, GOCLIP_AVX512 = 2, GOCLIP_VNNI = 3 };

/* The best that this CPU has; the last is AVX-512 with VNNI and VBMI. The passes below must not be called with more,
 * nor with GOCLIP_NO_VECTORS. */
int goclip_vector_unit(void);

/*
 * The horizontal pass: rows of cols pixels of n channels (1 to 4) to rows of count pixels. Output i weighs taps columns
 * from first[i] - left on by k[i * stride ...]; weights of columns beyond the last must be 0. scratch has room for
 * 16 * (cols + taps) bytes.
 */
void goclip_across(int unit, uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int rows, int cols,
                   int n, const int32_t *first, int left, const int32_t *k, int stride, int taps, int count,
                   uint8_t *scratch);

/* The vertical pass: row i of dst weighs the n[i] rows of src from first[i] - top on. length is that of a row, in
 * bytes. */
void goclip_down(int unit, uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, size_t length,
                 const int32_t *first, const int32_t *n, int top, const int32_t *k, int stride, int count);

#endif
