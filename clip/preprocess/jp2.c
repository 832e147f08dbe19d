//go:build cgo && !nosystem

#include "jp2.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dynamic.h"

/* The part of OpenJPEG's interface, unchanged since version 2.1, that is used here. */
enum { CODEC_J2K = 0 };

typedef struct {
  uint32_t dx, dy, w, h, x0, y0, prec, bpp, sgnd, resno_decoded, factor;
  int32_t *data;
  uint16_t alpha;
} component;

typedef struct {
  uint32_t x0, y0, x1, y1, numcomps;
  int color_space;
  component *comps;
} image;

typedef void (*message_fn)(const char *, void *);

static struct {
  void *(*create)(int);
  void (*destroy)(void *);
  void (*default_parameters)(void *);
  int (*setup)(void *, void *);
  int (*set_error_handler)(void *, message_fn, void *);
  void *(*stream_create)(size_t, int);
  void (*stream_destroy)(void *);
  void (*stream_read)(void *, size_t (*)(void *, size_t, void *));
  void (*stream_skip)(void *, int64_t (*)(int64_t, void *));
  void (*stream_seek)(void *, int (*)(int64_t, void *));
  void (*stream_user_data)(void *, void *, void (*)(void *));
  void (*stream_length)(void *, uint64_t);
  int (*read_header)(void *, void *, image **);
  int (*decode)(void *, void *, image *);
  int (*end)(void *, void *);
  void (*image_destroy)(image *);
  int found;
} opj;

static void load(void) {
  static const char *const libraries[] = {"libopenjp2.so.7", "libopenjp2.7.dylib", NULL};
  const goclip_symbol symbols[] = {
      {&opj.create, "opj_create_decompress", 0},
      {&opj.destroy, "opj_destroy_codec", 0},
      {&opj.default_parameters, "opj_set_default_decoder_parameters", 0},
      {&opj.setup, "opj_setup_decoder", 0},
      {&opj.set_error_handler, "opj_set_error_handler", 0},
      {&opj.stream_create, "opj_stream_create", 0},
      {&opj.stream_destroy, "opj_stream_destroy", 0},
      {&opj.stream_read, "opj_stream_set_read_function", 0},
      {&opj.stream_skip, "opj_stream_set_skip_function", 0},
      {&opj.stream_seek, "opj_stream_set_seek_function", 0},
      {&opj.stream_user_data, "opj_stream_set_user_data", 0},
      {&opj.stream_length, "opj_stream_set_user_data_length", 0},
      {&opj.read_header, "opj_read_header", 0},
      {&opj.decode, "opj_decode", 0},
      {&opj.end, "opj_end_decompress", 0},
      {&opj.image_destroy, "opj_image_destroy", 0},
  };
  opj.found = goclip_load(libraries, symbols, sizeof(symbols) / sizeof(symbols[0]));
}

int goclip_jp2_available(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  return opj.found;
}

/* The data as OpenJPEG's stream. */
typedef struct {
  const unsigned char *data;
  size_t size, at;
} memory;

static size_t memory_read(void *to, size_t n, void *user) {
  memory *m = user;
  if (m->at >= m->size) {
    return (size_t)-1;
  }
  if (n > m->size - m->at) {
    n = m->size - m->at;
  }
  memcpy(to, m->data + m->at, n);
  m->at += n;
  return n;
}

static int memory_seek(int64_t to, void *user) {
  memory *m = user;
  if (to < 0 || (uint64_t)to > m->size) {
    return 0;
  }
  m->at = (size_t)to;
  return 1;
}

static int64_t memory_skip(int64_t n, void *user) {
  memory *m = user;
  return n < 0 || !memory_seek((int64_t)m->at + n, user) ? -1 : n;
}

/* OpenJPEG says the reason first, and then what it could not do for it. */
static void keep_first(const char *message, void *user) {
  goclip_jp2 *info = user;
  if (info->message[0] == 0) {
    snprintf(info->message, sizeof(info->message), "%s", message);
  }
}

/* The component's values in 8 bits, or in 16: rounded where there are more, shifted up where there are fewer, as
   Pillow does. A value at the top that would round beyond it stays there. */
static void unpack(const component *c, const goclip_jp2 *info, unsigned char *out) {
  const int bits = info->wide ? 16 : 8, down = (int)c->prec - bits;
  const int64_t most = info->wide ? 65535 : 255;
  int64_t offset = c->sgnd ? (int64_t)1 << (c->prec - 1) : 0;
  if (down > 0) {
    offset += (int64_t)1 << (down - 1);
  }
  const size_t n = (size_t)info->width * info->height;
  for (size_t i = 0; i < n; i++) {
    int64_t v = c->data[i] + offset;
    v = v < 0 ? 0 : info->indices ? v : down > 0 ? v >> down : v * ((int64_t)1 << -down);
    v = v > most ? most : v;
    if (info->wide) {
      out[2 * i] = (unsigned char)(v & 255);
      out[2 * i + 1] = (unsigned char)(v >> 8);
    } else {
      out[i * info->components] = (unsigned char)v;
    }
  }
}

static int unpack_all(const image *im, goclip_jp2 *info, unsigned char *out) {
  for (uint32_t c = 0; c < info->components; c++) {
    const component *p = &im->comps[c];
    if (p->data == NULL || p->w != info->width || p->h != info->height || p->prec < 1 || p->prec > 31) {
      snprintf(info->message, sizeof(info->message), "its size is not the one that its header gives");
      return 1;
    }
    unpack(p, info, out + c);
  }
  return 0;
}

int goclip_jp2_decode(const unsigned char *data, size_t size, goclip_jp2 *info, unsigned char *out) {
  memory m = {data, size, 0};
  uint64_t parameters[4096]; /* opj_dparameters_t takes 8,252 bytes of it */
  image *im = NULL;
  int bad = 1;
  void *codec = opj.create(CODEC_J2K), *stream = opj.stream_create(1 << 16, 1);
  if (codec == NULL || stream == NULL) {
    snprintf(info->message, sizeof(info->message), "there is no memory for it");
  } else {
    opj.stream_read(stream, memory_read);
    opj.stream_skip(stream, memory_skip);
    opj.stream_seek(stream, memory_seek);
    opj.stream_user_data(stream, &m, NULL);
    opj.stream_length(stream, size);
    opj.set_error_handler(codec, keep_first, info);
    opj.default_parameters(parameters);
    bad = !opj.setup(codec, parameters) || !opj.read_header(stream, codec, &im) || im->numcomps != info->components ||
          !opj.decode(codec, stream, im) || !opj.end(codec, stream) || unpack_all(im, info, out);
  }
  if (im != NULL) {
    opj.image_destroy(im);
  }
  if (stream != NULL) {
    opj.stream_destroy(stream);
  }
  if (codec != NULL) {
    opj.destroy(codec);
  }
  return bad;
}
