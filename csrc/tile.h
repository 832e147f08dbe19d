// tile.h: AMX's eight tile registers, of 16 rows of 64 bytes each (Intel SDM vol. 2, "TILELOADD" and what follows).
//
// These are assembly and not the compiler's intrinsics: any assembler since binutils 2.35 knows them without flags, and
// g++ 12's _tile_loadconfig does not say that it reads 64 bytes, so that a local configuration is optimised away.
#pragma once

#include <cstdint>

namespace goclip::tile {

// Config is the operand of LDTILECFG.
struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[8] = {64, 64, 64, 64, 64, 64, 64, 64}, no_tile[8] = {};
  uint8_t rows[8] = {16, 16, 16, 16, 16, 16, 16, 16}, no_rows[8] = {};
};
static_assert(sizeof(Config) == 64);

inline void configure(const Config &c) { asm volatile("ldtilecfg %0" ::"m"(c)); }
inline void release() { asm volatile("tilerelease"); }

// The numbers of registers are part of an instruction, so they are template arguments.
template <int T>
inline void zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(T));
}

// load reads 16 rows that lie stride bytes apart.
template <int T>
inline void load(const void *from, int64_t stride = 64) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(T), "r"(from), "r"(stride) : "memory");
}

template <int T>
inline void store(void *to, int64_t stride) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(T), "r"(to), "r"(stride) : "memory");
}

// dot adds A times B to C: A has 16 rows of 32 bfloat16, B 16 rows of 16 pairs, those of rows 2i and 2i+1 of the
// matrix, and C 16 rows of 16 float32.
template <int C, int A, int B>
inline void dot() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

// dot_bytes adds A times B to C: A has 16 rows of 64 unsigned bytes, B 16 rows of 16 fours of signed bytes, those of
// rows 4i to 4i+3 of the matrix, and C 16 rows of 16 int32.
template <int C, int A, int B>
inline void dot_bytes() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

}  // namespace goclip::tile
