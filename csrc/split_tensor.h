// split_tensor.h: float32 numbers that were split for a product (split.h), as a tensor from one operator to the next.
#pragma once

#include <ATen/ATen.h>

#include "bf16x3.h"

namespace goclip::bf16x3 {

// A split tensor has the shape of its numbers and four bytes for each, and storage for the rows that fill its last
// tiles. UInt32 marks it, of which goclip makes no other tensors.
inline at::Tensor empty_split(at::IntArrayRef shape) {
  const int64_t n = c10::multiply_integers(shape), depth = shape.back();
  return at::empty({split_bytes(n / depth, depth) / 4}, at::kUInt32).narrow(0, 0, n).view(shape);
}

inline bool is_split(const at::Tensor &t) {
  if (!t.is_cpu() || t.scalar_type() != at::kUInt32 || t.dim() == 0 || t.numel() == 0) return false;
  const int64_t depth = t.size(-1);
  return depth % 32 == 0 && t.is_contiguous() && t.storage_offset() == 0 &&
         t.storage().nbytes() >= static_cast<size_t>(split_bytes(t.numel() / depth, depth));
}

}  // namespace goclip::bf16x3
