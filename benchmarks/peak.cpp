// peak.cpp: what the processor's arithmetic can do in this minute, in loops that touch no memory, and AMX also with one
// load for each product.
//
//   g++ -O2 -fopenmp -o build/peak benchmarks/peak.cpp && build/peak THREADS
//
// It prints "KIND GFLOP/s" a line, over all threads and the best of several tries; neighbours on a shared machine lower
// it. An addition and a multiplication are one operation each, for int8 too.
#include <cpuid.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "../csrc/tile.h"

namespace {

// Twelve independent chains hide the latency of each instruction; register 15 is a constant. The registers begin at
// zero, so that nothing overflows.
#define ONE(name, r, n) name " %%" r "15, %%" r "15, %%" r n "\n"
#define TWELVE(name, r)                                                                                       \
  ONE(name, r, "0")                                                                                           \
  ONE(name, r, "1") ONE(name, r, "2") ONE(name, r, "3") ONE(name, r, "4") ONE(name, r, "5") ONE(name, r, "6") \
      ONE(name, r, "7") ONE(name, r, "8") ONE(name, r, "9") ONE(name, r, "10") ONE(name, r, "11")
#define ZERO(n) "vpxor %%xmm" n ", %%xmm" n ", %%xmm" n "\n"
#define ZEROS                                                                                                     \
  ZERO("0")                                                                                                       \
  ZERO("1") ZERO("2") ZERO("3") ZERO("4") ZERO("5") ZERO("6") ZERO("7") ZERO("8") ZERO("9") ZERO("10") ZERO("11") \
      ZERO("15")
#define CHAINS(function, name, r, operations)                                                                        \
  double function(long n) {                                                                                          \
    long left = n;                                                                                                   \
    asm volatile(ZEROS "1:\n" TWELVE(name, r) TWELVE(name, r) "dec %0\njnz 1b\nvzeroupper\n"                         \
                 : "+r"(left)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                   "xmm10", "xmm11", "xmm15");                                                                       \
    return 24. * n * operations;                                                                                     \
  }
CHAINS(avx2, "vfmadd231ps", "ymm", 16)
CHAINS(avx512, "vfmadd231ps", "zmm", 32)
CHAINS(avx512_bf16, "vdpbf16ps", "zmm", 64)
CHAINS(avx512_vnni, "vpdpbusd", "zmm", 128)

alignas(64) char memory[16][1024];

template <bool Loads>
double amx(long n) {
  using namespace goclip::tile;
  configure(Config());
  zero<0>(), zero<1>(), zero<2>(), zero<3>(), zero<4>(), zero<5>(), zero<6>(), zero<7>();
  for (long i = 0; i < n; i++) {
    if (Loads) load<4>(memory[i % 4]);
    dot<0, 4, 6>();
    if (Loads) load<7>(memory[4 + i % 4]);
    dot<1, 4, 7>();
    if (Loads) load<5>(memory[8 + i % 4]);
    dot<2, 5, 6>();
    if (Loads) load<6>(memory[12 + i % 4]);
    dot<3, 5, 7>();
  }
  release();
  return 4. * n * 16 * 16 * 32 * 2;
}

// best runs f on all threads for a tenth of a second, several times.
template <class F>
void best(const char *kind, int threads, F f) {
  using clock = std::chrono::steady_clock;
  double rate = 0;
  for (long n = 1000, tries = 0; tries < 5;) {
    double operations = 0;
    const auto began = clock::now();
#pragma omp parallel num_threads(threads) reduction(+ : operations)
    operations += f(n);
    const double seconds = std::chrono::duration<double>(clock::now() - began).count();
    if (seconds < 0.05) {
      n *= 2;
      continue;
    }
    rate = std::max(rate, operations / seconds);
    tries++;
  }
  printf("%s %.0f\n", kind, rate * 1e-9);
}

}  // namespace

int main(int count, char **arguments) {
  const int threads = count > 1 ? std::atoi(arguments[1]) : omp_get_num_procs();
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) {
    best("fp32", threads, avx512);
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    best("fp32", threads, avx2);
  }
  if (__builtin_cpu_supports("avx512bf16")) best("avx512_bf16", threads, avx512_bf16);
  if (__builtin_cpu_supports("avx512vnni")) best("avx512_vnni", threads, avx512_vnni);
  unsigned a, b, c, d = 0;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  if (d >> 22 & 1 && syscall(SYS_arch_prctl, 0x1023, 18) == 0) {  // AMX-BF16, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    best("amx_bf16", threads, amx<false>);
    best("amx_bf16_with_loads", threads, amx<true>);
  }
}
