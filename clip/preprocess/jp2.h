/* A JPEG 2000 codestream in memory, decoded by the OpenJPEG that the system has. Nothing of it is needed to build. */
#ifndef GOCLIP_PREPROCESS_JP2_H
#define GOCLIP_PREPROCESS_JP2_H

#include <stddef.h>

typedef struct {
  unsigned width, height, components; /* as the caller has read them from the header */
  int wide;                           /* the one component becomes 16 bits, low byte first, instead of 8 */
  int indices;                        /* the one component is copied: it indexes a palette */
  char message[160];                  /* why decoding failed */
} goclip_jp2;

/* 1 if the system's OpenJPEG was found. It is looked for once. */
int goclip_jp2_available(void);

/* Decodes into out: (height, width, components) values. 0 is success. */
int goclip_jp2_decode(const unsigned char *data, size_t size, goclip_jp2 *info, unsigned char *out);

#endif
