// sigbus.h: mappings of files whose missing pages read as zeros.
#ifndef GOCLIP_SIGBUS_H
#define GOCLIP_SIGBUS_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct {
  void *memory;
  atomic_size_t size;
  atomic_int lost;  // a page was missing
  int uses;
} goclip_mapping;

// goclip_map maps a file, with `private` writable and for this process alone; NULL and errno where it cannot.
goclip_mapping *goclip_map(int fd, size_t size, int private, int *error);
void goclip_map_use(goclip_mapping *m);  // one more who calls goclip_unmap
void goclip_unmap(void *mapping);        // with the last, the memory goes
int goclip_map_lost(goclip_mapping *m);

#endif
