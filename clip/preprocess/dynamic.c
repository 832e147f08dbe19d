//go:build cgo && !nosystem

#include "dynamic.h"

#include <dlfcn.h>
#include <string.h>

int goclip_load(const char *const *libraries, const goclip_symbol *symbols, size_t n) {
  void *lib = NULL;
  for (; *libraries != NULL && lib == NULL; libraries++) {
    lib = dlopen(*libraries, RTLD_NOW | RTLD_LOCAL);
  }
  if (lib == NULL) {
    return 0;
  }
  for (size_t i = 0; i < n; i++) {
    void *symbol = dlsym(lib, symbols[i].name);
    if (symbol == NULL && !symbols[i].optional) {
      return 0;
    }
    memcpy(symbols[i].to, &symbol, sizeof(symbol));
  }
  return 1;
}
