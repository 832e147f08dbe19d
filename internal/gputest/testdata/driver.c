// driver.c: a libcuda.so.1 that cannot be used, for machines without a driver: what CUDA's runtime makes of it is the
// runtime's own. STUB_CUINIT is what cuInit returns, STUB_DRIVER the driver's version.
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text == NULL ? otherwise : atoi(text);
}

int cuInit(unsigned flags) {
  (void)flags;
  return number("STUB_CUINIT", 999);
}

int cuDriverGetVersion(int *version) {
  *version = number("STUB_DRIVER", 13000);
  return 0;
}

static int refused(void) { return number("STUB_CUINIT", 999); }

int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long flags, int *status) {
  (void)version, (void)flags;
  *found = strcmp(name, "cuInit") == 0               ? (void *)cuInit
           : strcmp(name, "cuDriverGetVersion") == 0 ? (void *)cuDriverGetVersion
           : strcmp(name, "cuGetProcAddress") == 0   ? (void *)cuGetProcAddress_v2
                                                     : (void *)refused;
  if (status != NULL) *status = 0;
  return 0;
}
