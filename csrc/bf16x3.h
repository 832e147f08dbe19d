// bf16x3.h: float32 products of matrices from three bfloat16 products each, on AMX.
//
// Each number is split, x = hi + lo with hi = bfloat16(x) and lo = bfloat16(x - hi), and
// x w = hi(x) hi(w) + hi(x) lo(w) + lo(x) hi(w) within 3 2^-16 of its size, summed in float32. That is the "high" of
// PyTorch's float32_matmul_precision and the BF16_BF16_F32_X3 of XLA.
#pragma once

#include <cstdint>
#include <string>

namespace goclip::bf16x3 {

// unusable is why this machine cannot run the products, or empty. It asks once: the processor, the system for its
// permission to use tiles, and then the products themselves about known results.
std::string unusable();
bool usable();

// modelled is whether a test has turned on the software model of the tiles.
bool modelled();

// MatrixOf is (vectors, depth): number k of vector v is data[v * vector_stride + k * depth_stride], and one of the
// strides is 1. Products are over the depth.
template <class T>
struct MatrixOf {
  const T *data;
  int64_t vectors, depth, vector_stride, depth_stride;
  const void *tiles = nullptr;  // of a left-hand matrix that was split before: it is read, and data is not
};
using Matrix = MatrixOf<float>;

// packed_bytes is the size of a packed right-hand matrix, split_bytes that of a left-hand one. What makes the input of
// a product writes the latter directly, if its depth is a multiple of 32.
int64_t packed_bytes(int64_t vectors, int64_t depth);
int64_t split_bytes(int64_t vectors, int64_t depth);

// pack splits a right-hand matrix into tiles, at a multiple of 64 bytes. It returns false if a number is infinite, NaN
// or above the largest bfloat16, which cannot be split.
bool pack(const Matrix &m, void *to);

enum class Activation { none, gelu, quick_gelu, gelu_tanh };

// Epilogue is what happens to a product while it is in the cache: bias (n), then the activation, then the residual,
// laid out as the product. Both may be NULL.
struct Epilogue {
  const float *bias = nullptr, *residual = nullptr;
  Activation activation = Activation::none;
  bool split = false;  // write it as the left-hand matrix of the next product, which may_split() allows
};

bool may_split(int64_t n, int64_t depth);

// multiply writes a b^T, (a.vectors, n) row by row in float32 or split, with b packed from (n, a.depth). It returns
// false, with nothing of use written, if a or the result to be split holds a number that cannot be split.
bool multiply(const Matrix &a, const void *b, int64_t n, const Epilogue &epilogue, void *to);

}  // namespace goclip::bf16x3
