//go:build faiss

// faiss.cpp: an IndexIVFPQ behind faiss.h. Vectors are L2-normalised, so that the inner product is the cosine. Product codes
// because Debian builds FAISS for any x86_64, where tables of 256 numbers are the only fast way; a byte stands for
// four dimensions, which is coarse, and the caller compares what is found exactly.
#include "faiss.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/index_io.h>
#include <faiss/invlists/OnDiskInvertedLists.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

struct gf_index {
  faiss::IndexIVFPQ *ivf;
};

namespace {

template <class F>
char *guard(F &&f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

}  // namespace

extern "C" {

char *gf_train(const float *rows, size_t n, int32_t dim, int32_t lists, gf_index **out) {
  return guard([&] {
    auto quantizer = std::make_unique<faiss::IndexFlatIP>(dim);
    int wide = 4;
    while (dim % wide != 0) wide /= 2;
    auto ivf = std::make_unique<faiss::IndexIVFPQ>(quantizer.get(), dim, lists, dim / wide, 8, faiss::METRIC_INNER_PRODUCT);
    quantizer.release();
    ivf->own_fields = true;
    ivf->cp.spherical = true;  // centroids of one length, as the vectors are
    ivf->cp.niter = 8;
    ivf->cp.max_points_per_centroid = 32;
    ivf->cp.min_points_per_centroid = 1;  // no warning on stderr
    ivf->pq.cp.min_points_per_centroid = 1;
    ivf->pq.cp.max_points_per_centroid = 64;
    ivf->pq.cp.niter = 10;
    ivf->parallel_mode = 1;  // a single query takes all threads
    ivf->train(static_cast<faiss::Index::idx_t>(n), rows);
    *out = new gf_index{ivf.release()};
  });
}

char *gf_open(const char *path, int map, gf_index **out) {
  return guard([&] {
    std::unique_ptr<faiss::Index> read(faiss::read_index(path, map ? faiss::IO_FLAG_MMAP : 0));
    auto *ivf = dynamic_cast<faiss::IndexIVFPQ *>(read.get());
    if (ivf == nullptr) throw std::runtime_error("it is an index of another kind");
    ivf->parallel_mode = 1;
    if (auto *lists = dynamic_cast<faiss::OnDiskInvertedLists *>(ivf->invlists)) {
      lists->prefetch_nthread = 0;  // 32 threads for each search, for disks alone
    }
    read.release();
    *out = new gf_index{ivf};
  });
}

char *gf_save(const gf_index *index, const char *path) {
  return guard([&] { faiss::write_index(index->ivf, path); });
}

char *gf_add(gf_index *index, const float *rows, size_t n) {
  return guard([&] { index->ivf->add(static_cast<faiss::Index::idx_t>(n), rows); });
}

char *gf_search(const gf_index *index, const float *queries, size_t n, size_t k, const uint8_t *permitted, size_t bytes,
                int64_t *rows) {
  return guard([&] {
    faiss::IDSelectorBitmap selected(bytes, permitted);
    faiss::SearchParametersIVF how;
    how.nprobe = index->ivf->nprobe;
    if (permitted != nullptr) how.sel = &selected;
    std::vector<float> scores(n * k);
    index->ivf->search(static_cast<faiss::Index::idx_t>(n), queries, static_cast<faiss::Index::idx_t>(k), scores.data(), rows, &how);
  });
}

int64_t gf_rows(const gf_index *index) { return index->ivf->ntotal; }
int32_t gf_dim(const gf_index *index) { return index->ivf->d; }
int32_t gf_lists(const gf_index *index) { return static_cast<int32_t>(index->ivf->nlist); }
int32_t gf_probes(const gf_index *index) { return static_cast<int32_t>(index->ivf->nprobe); }
void gf_set_probes(gf_index *index, int32_t probes) { index->ivf->nprobe = static_cast<size_t>(probes); }

void gf_close(gf_index *index) {
  delete index->ivf;
  delete index;
}

}  // extern "C"
