/* The products of package scan, on the vector units of x86-64 and without. doc.go has the formulas and the names. */
#ifndef GOCLIP_INDEX_SCAN_KERNELS_H
#define GOCLIP_INDEX_SCAN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { GOCLIP_SCAN_PLAIN, GOCLIP_SCAN_AVX2, GOCLIP_SCAN_VNNI };

/* The best unit that this processor has; the functions below must not be called with more. */
int goclip_scan_unit(void);

/*
 * The products of a query with n rows of dim numbers: those at the positions at, or the first n if at is NULL.
 */
void goclip_scan_dots(int unit, const float *rows, size_t dim, const uint32_t *at, size_t n, const float *query,
                      float *out);

/*
 * The codes whose upper bound is not below least: their positions go to at, their bounds to bounds. Returns how many
 * there are.
 */
size_t goclip_scan_bounds(int unit, const uint8_t *codes, size_t dim, size_t n, const int8_t *high, const int8_t *low,
                          int64_t offset, double step, double loose, double norm, double least, uint32_t *at,
                          double *bounds);

#endif
