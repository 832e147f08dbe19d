// faiss.h: what goclip needs of FAISS 1.7.3, in plain C. A returned string is an error message, to be freed; NULL is success.
#ifndef GOCLIP_FAISS_H
#define GOCLIP_FAISS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gf_index gf_index;

char *gf_train(const float *rows, size_t n, int32_t dim, int32_t lists, gf_index **out);
char *gf_open(const char *path, int map /* the codes stay in the file */, gf_index **out);
char *gf_save(const gf_index *index, const char *path);
char *gf_add(gf_index *index, const float *rows, size_t n);
char *gf_search(const gf_index *index, const float *queries, size_t n, size_t k,
                const uint8_t *permitted /* a bit for each row, or NULL */, size_t bytes, int64_t *rows /* -1: none */);
int64_t gf_rows(const gf_index *index);
int32_t gf_dim(const gf_index *index);
int32_t gf_lists(const gf_index *index);
int32_t gf_probes(const gf_index *index);
void gf_set_probes(gf_index *index, int32_t probes);
void gf_close(gf_index *index);

#ifdef __cplusplus
}
#endif
#endif
