/* JPEG XL in memory, decoded by the libjxl that the system has. Nothing of it is needed to build. */
#ifndef GOCLIP_PREPROCESS_JXL_H
#define GOCLIP_PREPROCESS_JXL_H

#include <stddef.h>

typedef struct {
  unsigned width, height; /* upright, as the file's header says */
  unsigned channels;      /* of the result: grey or RGB, each perhaps with alpha */
  unsigned extra;         /* channels beside grey or RGB, alpha among them */
  int truncated;          /* a call failed because the data ends early */
} goclip_jxl;

/* 1 if the system's libjxl was found. It is looked for once. */
int goclip_jxl_available(void);

/* Reads the header. 0 is success. */
int goclip_jxl_header(const unsigned char *data, size_t size, goclip_jxl *info);

/* Decodes the first frame into out: (height, width, channels) bytes, as header gave them. 0 is success. */
int goclip_jxl_decode(const unsigned char *data, size_t size, goclip_jxl *info, unsigned char *out);

#endif
