/* Libraries that the system may have and that nothing links to. */
#ifndef GOCLIP_PREPROCESS_DYNAMIC_H
#define GOCLIP_PREPROCESS_DYNAMIC_H

#include <stddef.h>

typedef struct {
  void *to; /* a pointer to a function, which is set */
  const char *name;
  int optional;
} goclip_symbol;

/* Loads the first of the named libraries (NULL ends them) that is there. 1 if it has all symbols but optional ones. */
int goclip_load(const char *const *libraries, const goclip_symbol *symbols, size_t n);

#endif
