// allocator.cpp: libtorch's allocator for the CPU, of which one allocation fails: the one to which the number in the
// mapped file GOCLIP_FAILING_ALLOCATOR counts down. It fails as libtorch's own does.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>

namespace {

std::atomic<int64_t> *left = nullptr;

struct Failing : c10::Allocator {
  c10::Allocator *inner = c10::GetDefaultCPUAllocator();

  c10::DataPtr allocate(size_t n) override {
    if (left->load() > 0 && left->fetch_sub(1) == 1) {
      TORCH_CHECK(false, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", n, " bytes.");
    }
    return inner->allocate(n);
  }
  c10::DeleterFnPtr raw_deleter() const override { return inner->raw_deleter(); }
  void copy_data(void *to, const void *from, size_t n) const override { inner->copy_data(to, from, n); }
};

__attribute__((constructor)) void install() {
  const char *path = std::getenv("GOCLIP_FAILING_ALLOCATOR");
  const int fd = path == nullptr ? -1 : open(path, O_RDWR);
  if (fd < 0) return;
  void *memory = mmap(nullptr, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return;
  left = static_cast<std::atomic<int64_t> *>(memory);
  static Failing failing;
  c10::SetCPUAllocator(&failing, 255);
}

}  // namespace
