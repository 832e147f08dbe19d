/*
 * Both resampling passes and the normalisation of RGB in one go, from pixels to three float planes, on CPUs with
 * AVX-512 VNNI and VBMI (Ice Lake, Zen 4 and later).
 */
#ifndef GOCLIP_PREPROCESS_RESAMPLE_VNNI_H
#define GOCLIP_PREPROCESS_RESAMPLE_VNNI_H

#include <stddef.h>
#include <stdint.h>

/* Numbers of a normalisation: v becomes (v/255 - mean) / std, with 1/255 and 1/std in a high and a low part. */
enum { GOCLIP_NORM_BYTE = 0, GOCLIP_NORM_MEAN = 2, GOCLIP_NORM_STD = 5, GOCLIP_NORM_COUNT = 11 };

/* Whether the vectors normalise all 256 levels of three channels to the bits of table. */
int goclip_norm_exact(const float *norm, const float *table);

/*
 * Makes rows of the result. made is how many quads of source rows have gone through the horizontal pass by now: 0
 * before the first row, then what the last call gave. Rows are made in order, from the first one on, with one ring.
 *
 * dst: three planes of plane floats each, of which rows x cols are written, pitch floats from row to row.
 * src: src_rows rows, stride bytes apart, with no fewer than 64 bytes each.
 * across and across_at: the horizontal weights, across_quads quads of taps for each group of 16 bytes (fused.go);
 *   groups come in threes, of which the last may be empty.
 * down and down_at: the weights of these rows; down_quads is the most quads of rows that one row of dst takes, at
 *   most 4.
 * ring: room for down_quads * 192 * ceil(cols / 16) bytes.
 */
int goclip_resample_normalise(float *dst, size_t plane, size_t pitch, int rows, int cols, int made, const uint8_t *src,
                              size_t stride, int src_rows, const int8_t *across, const int32_t *across_at,
                              int across_quads, const int8_t *down, const int32_t *down_at, int down_quads,
                              uint8_t *ring, const float *norm);

#endif
