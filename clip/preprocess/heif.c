//go:build cgo && !nosystem

#include "heif.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dynamic.h"

/* The part of libheif's interface, unchanged since version 1.3, that is used here. */
typedef struct {
  int code, subcode;
  const char *message;
} heif_error;

enum { COLORSPACE_RGB = 1, CHROMA_RGB = 10, CHROMA_RGBA = 11, CHANNEL_INTERLEAVED = 10 };

/* The beginning of struct heif_decoding_options. */
typedef struct {
  uint8_t version, ignore_transformations;
  void *progress[4];
  uint8_t convert_hdr_to_8bit;
} heif_options;

static struct {
  void *(*context_alloc)(void);
  void (*context_free)(void *);
  heif_error (*read)(void *, const void *, size_t, const void *);
  void (*set_threads)(void *, int);    /* may be missing */
  void (*set_side_limit)(void *, int); /* may be missing */
  heif_error (*primary)(void *, void **);
  int (*width)(const void *), (*height)(const void *), (*has_alpha)(const void *), (*bits)(const void *);
  void (*handle_release)(const void *);
  heif_options *(*options_alloc)(void);
  void (*options_free)(heif_options *);
  heif_error (*decode)(const void *, void **, int, int, const heif_options *);
  int (*image_width)(const void *, int), (*image_height)(const void *, int);
  const uint8_t *(*plane)(const void *, int, int *);
  void (*image_release)(const void *);
  int found;
} heif;

static void load(void) {
  static const char *const libraries[] = {"libheif.so.1", "libheif.1.dylib", NULL};
  const goclip_symbol symbols[] = {
      {&heif.context_alloc, "heif_context_alloc", 0},
      {&heif.context_free, "heif_context_free", 0},
      {&heif.read, "heif_context_read_from_memory_without_copy", 0},
      {&heif.set_threads, "heif_context_set_max_decoding_threads", 1},
      {&heif.set_side_limit, "heif_context_set_maximum_image_size_limit", 1},
      {&heif.primary, "heif_context_get_primary_image_handle", 0},
      {&heif.width, "heif_image_handle_get_width", 0},
      {&heif.height, "heif_image_handle_get_height", 0},
      {&heif.has_alpha, "heif_image_handle_has_alpha_channel", 0},
      {&heif.bits, "heif_image_handle_get_luma_bits_per_pixel", 0},
      {&heif.handle_release, "heif_image_handle_release", 0},
      {&heif.options_alloc, "heif_decoding_options_alloc", 0},
      {&heif.options_free, "heif_decoding_options_free", 0},
      {&heif.decode, "heif_decode_image", 0},
      {&heif.image_width, "heif_image_get_width", 0},
      {&heif.image_height, "heif_image_get_height", 0},
      {&heif.plane, "heif_image_get_plane_readonly", 0},
      {&heif.image_release, "heif_image_release", 0},
  };
  heif.found = goclip_load(libraries, symbols, sizeof(symbols) / sizeof(symbols[0]));
}

int goclip_heif_available(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  return heif.found;
}

struct goclip_heif_file {
  void *context, *handle;
};

enum { END_OF_DATA = 100 }; /* heif_suberror_End_of_data */

static int failed(heif_error e, goclip_heif *info) {
  if (e.code != 0) {
    info->truncated = e.subcode == END_OF_DATA;
    snprintf(info->message, sizeof(info->message), "%s", e.message != NULL ? e.message : "unknown");
  }
  return e.code != 0;
}

/* A side of more is refused in Go too. */
enum { LONGEST_SIDE = 1 << 20 };

int goclip_heif_open(const unsigned char *data, size_t size, goclip_heif *info, goclip_heif_file **out) {
  goclip_heif_file *f = calloc(1, sizeof(*f));
  *out = f;
  if (f == NULL || (f->context = heif.context_alloc()) == NULL) {
    snprintf(info->message, sizeof(info->message), "there is no memory for it");
    return 1;
  }
  if (heif.set_side_limit != NULL) {
    heif.set_side_limit(f->context, LONGEST_SIDE);
  }
  if (heif.set_threads != NULL) {
    heif.set_threads(f->context, 0); /* callers decode several at a time */
  }
  if (failed(heif.read(f->context, data, size, NULL), info) || failed(heif.primary(f->context, &f->handle), info)) {
    return 1;
  }
  info->width = heif.width(f->handle);
  info->height = heif.height(f->handle);
  info->alpha = heif.has_alpha(f->handle) != 0;
  info->bits = heif.bits(f->handle);
  return 0;
}

int goclip_heif_decode(goclip_heif_file *f, goclip_heif *info, unsigned char *out) {
  void *image = NULL;
  heif_options *options = heif.options_alloc();
  if (options == NULL) {
    snprintf(info->message, sizeof(info->message), "there is no memory for it");
    return 1;
  }
  options->convert_hdr_to_8bit = 1;
  int bad =
      failed(heif.decode(f->handle, &image, COLORSPACE_RGB, info->alpha ? CHROMA_RGBA : CHROMA_RGB, options), info);
  heif.options_free(options);
  if (bad) {
    return 1;
  }
  int stride = 0;
  const uint8_t *pixels = heif.plane(image, CHANNEL_INTERLEAVED, &stride);
  size_t row = (size_t)info->width * (info->alpha ? 4 : 3);
  if (pixels == NULL || heif.image_width(image, CHANNEL_INTERLEAVED) != info->width ||
      heif.image_height(image, CHANNEL_INTERLEAVED) != info->height || stride < 0 || (size_t)stride < row) {
    snprintf(info->message, sizeof(info->message), "its size is not the one that its header gives");
    bad = 1;
  }
  for (int y = 0; y < info->height && !bad; y++) {
    memcpy(out + (size_t)y * row, pixels + (size_t)y * (size_t)stride, row);
  }
  heif.image_release(image);
  return bad;
}

void goclip_heif_close(goclip_heif_file *f) {
  if (f == NULL) {
    return;
  }
  if (f->handle != NULL) {
    heif.handle_release(f->handle);
  }
  if (f->context != NULL) {
    heif.context_free(f->context);
  }
  free(f);
}
