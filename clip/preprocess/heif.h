/* HEIC and AVIF in memory, decoded by the libheif that the system has. Nothing of it is needed to build. */
#ifndef GOCLIP_PREPROCESS_HEIF_H
#define GOCLIP_PREPROCESS_HEIF_H

#include <stddef.h>

typedef struct {
  int width, height; /* upright, as the file's own transformations say */
  int alpha;         /* the result has four channels, else three */
  int bits;          /* of a channel, before they are cut to 8 */
  int truncated;     /* a call failed because the data ends early */
  char message[160]; /* why a call failed */
} goclip_heif;

typedef struct goclip_heif_file goclip_heif_file;

/* 1 if the system's libheif was found. It is looked for once. */
int goclip_heif_available(void);

/* Reads the header. The data must stay until close. 0 is success. Close what open gave even where it failed. */
int goclip_heif_open(const unsigned char *data, size_t size, goclip_heif *info, goclip_heif_file **out);

/* Decodes into out: (height, width, 3 or 4) bytes. 0 is success. */
int goclip_heif_decode(goclip_heif_file *f, goclip_heif *info, unsigned char *out);

void goclip_heif_close(goclip_heif_file *f);

#endif
