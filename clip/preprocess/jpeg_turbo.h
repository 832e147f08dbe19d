/* A JPEG in memory, decoded by libjpeg-turbo as Pillow decodes it. */
#ifndef GOCLIP_PREPROCESS_JPEG_TURBO_H
#define GOCLIP_PREPROCESS_JPEG_TURBO_H

#include <stddef.h>

enum {
  GOCLIP_JPEG_OK = 0,
  GOCLIP_JPEG_BROKEN = 1,   /* message says why */
  GOCLIP_JPEG_TRUNCATED = 2 /* the data ends before the last row */
};

typedef struct {
  int width, height; /* of the whole picture */
  int out_width, out_height;
  int components; /* 1 grey, 3 RGB, 4 inverted CMYK */
  int bits;
  int arithmetic; /* coded arithmetically, not by Huffman */
  char message[208]; /* at least JMSG_LENGTH_MAX */
} goclip_jpeg;

/* Reads the header. scale is 1, 2, 4 or 8. */
int goclip_jpeg_header(const unsigned char *data, size_t size, int scale, goclip_jpeg *info);

/* Decodes into out: (out_height, out_width, components) bytes, as info of goclip_jpeg_header gave them. */
int goclip_jpeg_decode(const unsigned char *data, size_t size, int scale, goclip_jpeg *info, unsigned char *out);

#endif
