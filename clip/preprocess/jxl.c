//go:build cgo && !nosystem

#include "jxl.h"

#include <pthread.h>
#include <stdint.h>

#include "dynamic.h"

/* The part of libjxl's interface, unchanged since version 0.7, that is used here. */
enum { SUCCESS = 0, NEED_MORE_INPUT = 2, NEED_OUT_BUFFER = 5, BASIC_INFO = 0x40, FULL_IMAGE = 0x1000 };
enum { TYPE_UINT8 = 2 };

/* The beginning of JxlBasicInfo, and more room than it takes. */
typedef union {
  struct {
    int have_container;
    uint32_t width, height, bits, exponent_bits;
    float intensity_target, min_nits;
    int relative_to_max_display;
    float linear_below;
    int uses_original_profile, have_preview, have_animation, orientation;
    uint32_t colour_channels, extra_channels, alpha_bits;
  } is;
  unsigned char room[1024];
} basic_info;

typedef struct {
  uint32_t channels;
  int type, endianness;
  size_t align;
} pixel_format;

static struct {
  void *(*create)(const void *);
  void (*destroy)(void *);
  int (*subscribe)(void *, int);
  int (*input)(void *, const uint8_t *, size_t);
  int (*process)(void *);
  int (*info)(const void *, basic_info *);
  int (*out_size)(const void *, const pixel_format *, size_t *);
  int (*out_buffer)(void *, const pixel_format *, void *, size_t);
  int found;
} jxl;

static void load(void) {
  static const char *const libraries[] = {"libjxl.so.0.7",     "libjxl.so.0.8",     "libjxl.so.0.9",
                                          "libjxl.so.0.10",    "libjxl.so.0.11",    "libjxl.so.0.12",
                                          "libjxl.0.7.dylib",  "libjxl.0.8.dylib",  "libjxl.0.9.dylib",
                                          "libjxl.0.10.dylib", "libjxl.0.11.dylib", NULL};
  const goclip_symbol symbols[] = {
      {&jxl.create, "JxlDecoderCreate", 0},
      {&jxl.destroy, "JxlDecoderDestroy", 0},
      {&jxl.subscribe, "JxlDecoderSubscribeEvents", 0},
      {&jxl.input, "JxlDecoderSetInput", 0},
      {&jxl.process, "JxlDecoderProcessInput", 0},
      {&jxl.info, "JxlDecoderGetBasicInfo", 0},
      {&jxl.out_size, "JxlDecoderImageOutBufferSize", 0},
      {&jxl.out_buffer, "JxlDecoderSetImageOutBuffer", 0},
  };
  jxl.found = goclip_load(libraries, symbols, sizeof(symbols) / sizeof(symbols[0]));
}

int goclip_jxl_available(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  return jxl.found;
}

static void *begin(const unsigned char *data, size_t size, int events) {
  void *d = jxl.create(NULL);
  if (d != NULL && (jxl.subscribe(d, events) != SUCCESS || jxl.input(d, data, size) != SUCCESS)) {
    jxl.destroy(d);
    return NULL;
  }
  return d; /* whose input is not closed: then truncated data is not an error */
}

static int header(void *d, goclip_jxl *info) {
  basic_info b;
  int status = jxl.process(d);
  info->truncated = status == NEED_MORE_INPUT;
  if (status != BASIC_INFO || jxl.info(d, &b) != SUCCESS || (b.is.colour_channels != 1 && b.is.colour_channels != 3)) {
    return 1;
  }
  info->width = b.is.width;
  info->height = b.is.height;
  info->channels = b.is.colour_channels + (b.is.alpha_bits > 0);
  info->extra = b.is.extra_channels;
  return 0;
}

int goclip_jxl_header(const unsigned char *data, size_t size, goclip_jxl *info) {
  void *d = begin(data, size, BASIC_INFO);
  if (d == NULL) {
    return 1;
  }
  int bad = header(d, info);
  jxl.destroy(d);
  return bad;
}

int goclip_jxl_decode(const unsigned char *data, size_t size, goclip_jxl *info, unsigned char *out) {
  goclip_jxl now = {0};
  void *d = begin(data, size, BASIC_INFO | FULL_IMAGE);
  if (d == NULL) {
    return 1;
  }
  size_t want = (size_t)info->width * info->height * info->channels, have = 0;
  const pixel_format format = {info->channels, TYPE_UINT8, 0, 0};
  int bad = header(d, &now) || now.width != info->width || now.height != info->height || now.channels != info->channels;
  if (!bad) {
    int status = jxl.process(d);
    bad = status != NEED_OUT_BUFFER || jxl.out_size(d, &format, &have) != SUCCESS || have != want ||
          jxl.out_buffer(d, &format, out, want) != SUCCESS;
    if (!bad) {
      status = jxl.process(d);
      bad = status != FULL_IMAGE;
    }
    now.truncated = status == NEED_MORE_INPUT;
  }
  info->truncated = now.truncated;
  jxl.destroy(d);
  return bad;
}
