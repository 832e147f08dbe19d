// sigbus.c: the handler of SIGBUS. It knows the mappings, and passes every other fault on to the former handler: Go's
// runtime, which made its own handler before any of this was called.
#include "sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

// The handler reads the table, so that it takes no lock; a place of size 0 is free.
enum { places = 4096 };
static goclip_mapping mappings[places];
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction before;
static size_t page;

static goclip_mapping *mapping_of(uintptr_t address) {
  for (goclip_mapping *m = mappings; m < mappings + places; m++) {
    const size_t size = atomic_load(&m->size);
    const uintptr_t first = (uintptr_t)m->memory;
    if (size != 0 && address >= first && address < first + (size + page - 1) / page * page) return m;
  }
  return NULL;
}

// The instruction that met a missing page runs again when the handler returns, and then finds zeros.
static void handle(int sig, siginfo_t *info, void *context) {
  const int saved = errno;
  goclip_mapping *m = info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR ? mapping_of((uintptr_t)info->si_addr) : NULL;
  if (m != NULL) {
    void *at = (void *)((uintptr_t)info->si_addr / page * page);
    atomic_store(&m->lost, 1);
    if (mmap(at, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at) {
      errno = saved;
      return;
    }
  }
  errno = saved;
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(sig, info, context);
  } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
    sigaction(sig, &before, NULL);  // and the fault comes again
  } else {
    before.sa_handler(sig);
  }
}

static void install(void) {
  page = (size_t)sysconf(_SC_PAGESIZE);
  sigaction(SIGBUS, NULL, &before);
  struct sigaction ours = before;  // Go's mask
  ours.sa_sigaction = handle;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigaction(SIGBUS, &ours, NULL);
}

goclip_mapping *goclip_map(int fd, size_t size, int private, int *error) {
  pthread_once(&once, install);
  void *memory = mmap(NULL, size, private ? PROT_READ | PROT_WRITE : PROT_READ, private ? MAP_PRIVATE : MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    *error = errno;
    return NULL;
  }
  pthread_mutex_lock(&writing);
  goclip_mapping *m = mappings;
  while (m < mappings + places && m->uses != 0) m++;
  if (m < mappings + places) {
    m->memory = memory;
    m->uses = 1;
    atomic_store(&m->lost, 0);
    atomic_store(&m->size, size);
  }
  pthread_mutex_unlock(&writing);
  if (m == mappings + places) {
    munmap(memory, size);
    *error = EMFILE;
    return NULL;
  }
  return m;
}

void goclip_map_use(goclip_mapping *m) {
  pthread_mutex_lock(&writing);
  m->uses++;
  pthread_mutex_unlock(&writing);
}

void goclip_unmap(void *mapping) {
  goclip_mapping *m = mapping;
  pthread_mutex_lock(&writing);
  if (--m->uses == 0) munmap(m->memory, atomic_exchange(&m->size, 0));
  pthread_mutex_unlock(&writing);
}

int goclip_map_lost(goclip_mapping *m) { return atomic_load(&m->lost); }
