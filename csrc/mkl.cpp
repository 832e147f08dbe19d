// mkl.cpp: MKL's AVX-512 kernels on every processor that has AVX-512.
//
// libtorch's float32 products outside oneDNN are MKL's, which asks this function whether the processor is Intel's and,
// where it is not, takes kernels for AVX2: 210 of 530 GFLOP/s on two cores of an AMD Zen 5, where its AVX-512 kernels
// reach 475. libtorch_cpu exports the function, so this definition in the program comes before its own. It is the known
// way (Daniel de Kok, "Intel MKL on AMD Zen", 2020). Processors without AVX-512 keep MKL's choice.
#if defined(__x86_64__)
extern "C" int mkl_serv_intel_cpu_true(void) {
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") || __builtin_cpu_supports("avx512f");
}
#endif
