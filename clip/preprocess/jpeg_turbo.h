/* A JPEG in memory, decoded by libjpeg-turbo as Pillow decodes it. */
#ifndef GOCLIP_PREPROCESS_JPEG_TURBO_H
#define GOCLIP_PREPROCESS_JPEG_TURBO_H

#include <stddef.h>

enum {
  GOCLIP_JPEG_OK = 0,
  GOCLIP_JPEG_BROKEN = 1,    /* message says why */
  GOCLIP_JPEG_TRUNCATED = 2, /* the data ends before the last row */
  GOCLIP_JPEG_CANCELLED = 3  /* goclip_jpeg_cancel was called */
};

/* How the components become colours. */
enum {
  GOCLIP_JPEG_PILLOW = 0, /* as the file's markers say: grey, RGB or CMYK */
  GOCLIP_JPEG_STORED = 1, /* not at all: the values that are stored, as in a TIFF that has no YCbCr */
  GOCLIP_JPEG_YCBCR = 2   /* three components from YCbCr to RGB, whatever the markers say */
};

typedef struct {
  int width, height; /* of the whole image */
  int colours;       /* set before open: one of the above */
  int components;    /* 1 grey, 3 RGB, 4 inverted CMYK; 1 to 4 of what is stored */
  int bits;
  int arithmetic;    /* coded arithmetically, not by Huffman */
  int scale;         /* 1, 2, 4 or 8: which fraction of the size is decoded */
  int from, to;      /* columns of the decoded image */
  int rows;          /* its height */
  char message[208]; /* at least JMSG_LENGTH_MAX */
} goclip_jpeg;

typedef struct goclip_decoder goclip_decoder;

/*
 * One image takes open, start, read and close, in this order, with the same bytes; after an error only close. open
 * reads the header. Close what open gave even where it failed.
 */
int goclip_jpeg_open(const unsigned char *data, size_t size, goclip_jpeg *info, goclip_decoder **out);

/* Takes scale and the columns that are needed, from and to; sets rows, and from and to to the columns that read gives.
 */
int goclip_jpeg_start(goclip_decoder *d, const unsigned char *data, size_t size, goclip_jpeg *info);

/* Decodes into out: (rows, to - from, components) bytes. */
int goclip_jpeg_read(goclip_decoder *d, const unsigned char *data, size_t size, goclip_jpeg *info, unsigned char *out);

/* Makes a start or read that runs in another thread return soon, between scans or rows. */
void goclip_jpeg_cancel(goclip_decoder *d);

void goclip_jpeg_close(goclip_decoder *d);

#endif
