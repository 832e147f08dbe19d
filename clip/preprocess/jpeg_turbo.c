//go:build cgo && !nojpegturbo

#include "jpeg_turbo.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* These want stdio.h before them. */
#include <jerror.h>
#include <jpeglib.h>

/* libjpeg's default error handler exits the process. This one jumps back with the message. */
typedef struct {
  struct jpeg_error_mgr base;
  jmp_buf back;
  char *message;
} error_manager;

static void on_error(j_common_ptr cinfo) {
  error_manager *e = (error_manager *)cinfo->err;
  (*cinfo->err->format_message)(cinfo, e->message);
  /* Arithmetic decoding cannot wait for data in the middle of a block. */
  longjmp(e->back, e->base.msg_code == JERR_CANT_SUSPEND ? GOCLIP_JPEG_TRUNCATED : GOCLIP_JPEG_BROKEN);
}

/* Warnings are passed over, as Pillow passes over them. */
static void on_message(j_common_ptr cinfo) { (void)cinfo; }

/* The source suspends at the end of the data instead of inventing an end marker: that is how truncation shows. */
static void source_nothing(j_decompress_ptr cinfo) { (void)cinfo; }

static boolean source_fill(j_decompress_ptr cinfo) {
  (void)cinfo;
  return FALSE;
}

static void source_skip(j_decompress_ptr cinfo, long n) {
  struct jpeg_source_mgr *s = cinfo->src;
  if (n <= 0) {
    return;
  }
  if ((unsigned long)n > s->bytes_in_buffer) {
    n = (long)s->bytes_in_buffer;
  }
  s->next_input_byte += n;
  s->bytes_in_buffer -= (size_t)n;
}

struct goclip_decoder {
  struct jpeg_decompress_struct cinfo;
  error_manager error;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  atomic_int cancelled;
  size_t at; /* how far the data was read when the last call returned */
};

/* libjpeg calls this for every row of blocks, of every scan where it reads all of them first. */
static void on_progress(j_common_ptr cinfo) {
  goclip_decoder *d = (goclip_decoder *)cinfo; /* cinfo is its first member */
  if (atomic_load_explicit(&d->cancelled, memory_order_relaxed)) {
    longjmp(d->error.back, GOCLIP_JPEG_CANCELLED);
  }
}

void goclip_jpeg_cancel(goclip_decoder *d) { atomic_store(&d->cancelled, 1); }

/* The caller's data may move between calls, so no pointer into it is kept. */
static void decoder_enter(goclip_decoder *d, const unsigned char *data, size_t size, goclip_jpeg *info) {
  info->message[0] = 0;
  d->error.message = info->message;
  d->source.next_input_byte = data + d->at;
  d->source.bytes_in_buffer = size - d->at;
}

static int decoder_leave(goclip_decoder *d, size_t size, int rc) {
  d->at = size - d->source.bytes_in_buffer;
  d->source.next_input_byte = NULL;
  d->source.bytes_in_buffer = 0;
  d->error.message = NULL;
  return rc;
}

/* One step of decoding: from where the data was left to a code. out is for pixels, NULL without. */
typedef int step(goclip_decoder *d, goclip_jpeg *info, unsigned char *out);

/* Takes a step, or comes back out of it with the code of libjpeg's error. */
static int take(step *s, goclip_decoder *d, const unsigned char *data, size_t size, goclip_jpeg *info,
                unsigned char *out) {
  decoder_enter(d, data, size, info);
  switch (setjmp(d->error.back)) {
    case 0:
      break;
    case GOCLIP_JPEG_TRUNCATED:
      return decoder_leave(d, size, GOCLIP_JPEG_TRUNCATED);
    case GOCLIP_JPEG_CANCELLED:
      return decoder_leave(d, size, GOCLIP_JPEG_CANCELLED);
    default:
      return decoder_leave(d, size, GOCLIP_JPEG_BROKEN);
  }
  return decoder_leave(d, size, s(d, info, out));
}

/* Reads up to the first scan and sets the colours that Pillow asks for. */
static int read_header(goclip_decoder *d, goclip_jpeg *info) {
  struct jpeg_decompress_struct *c = &d->cinfo;
  int got;
  do {
    got = jpeg_read_header(c, FALSE);
  } while (got == JPEG_HEADER_TABLES_ONLY);
  if (got == JPEG_SUSPENDED) {
    return GOCLIP_JPEG_TRUNCATED;
  }
  info->width = (int)c->image_width;
  info->height = (int)c->image_height;
  info->components = c->num_components;
  info->bits = c->data_precision;
  if (info->colours == GOCLIP_JPEG_STORED && c->num_components <= 4) {
    c->jpeg_color_space = JCS_UNKNOWN;
    c->out_color_space = JCS_UNKNOWN;
    return GOCLIP_JPEG_OK;
  }
  if (info->colours == GOCLIP_JPEG_YCBCR && c->num_components == 3) {
    c->jpeg_color_space = JCS_YCbCr;
  }
  switch (c->num_components) {
    case 1:
      c->jpeg_color_space = JCS_GRAYSCALE;
      c->out_color_space = JCS_GRAYSCALE;
      break;
    case 3:
      c->out_color_space = JCS_RGB;
      break;
    case 4:
      c->out_color_space = JCS_CMYK;
      break;
    default:
      snprintf(info->message, sizeof(info->message), "it has %d components", c->num_components);
      return GOCLIP_JPEG_BROKEN;
  }
  return GOCLIP_JPEG_OK;
}

static int begin(goclip_decoder *d, goclip_jpeg *info, unsigned char *out) {
  (void)out;
  jpeg_create_decompress(&d->cinfo);
  d->source.init_source = source_nothing;
  d->source.fill_input_buffer = source_fill;
  d->source.skip_input_data = source_skip;
  d->source.resync_to_restart = jpeg_resync_to_restart;
  d->source.term_source = source_nothing;
  d->cinfo.src = &d->source;
  d->progress.progress_monitor = on_progress;
  d->cinfo.progress = &d->progress;
  return read_header(d, info);
}

int goclip_jpeg_open(const unsigned char *data, size_t size, goclip_jpeg *info, goclip_decoder **out) {
  goclip_decoder *d = calloc(1, sizeof(*d));
  *out = d;
  if (d == NULL) {
    snprintf(info->message, sizeof(info->message), "there is no memory for it");
    return GOCLIP_JPEG_BROKEN;
  }
  d->cinfo.err = jpeg_std_error(&d->error.base);
  d->error.base.error_exit = on_error;
  d->error.base.output_message = on_message;
  return take(begin, d, data, size, info, NULL);
}

/* Fancy upsampling reads one column beside the one that it writes; the blocks of an MCU come on top by themselves. */
enum { UPSAMPLING_MARGIN = 2 };

static int start(goclip_decoder *d, goclip_jpeg *info, unsigned char *out) {
  (void)out;
  struct jpeg_decompress_struct *c = &d->cinfo;
  c->scale_num = 1;
  c->scale_denom = (unsigned int)info->scale;
  if (!jpeg_start_decompress(c)) {
    return GOCLIP_JPEG_TRUNCATED;
  }
  int width = (int)c->output_width;
  int from = info->from > UPSAMPLING_MARGIN ? info->from - UPSAMPLING_MARGIN : 0;
  int to = info->to < width - UPSAMPLING_MARGIN ? info->to + UPSAMPLING_MARGIN : width;
  info->from = 0;
  info->to = width;
  info->rows = (int)c->output_height;
  /*
   * Cropping gives the values of the whole image at full size and the usual samplings, up to two columns a chroma
   * value. Missing scans of a progressive image are estimated from the neighbours, which must then all be there.
   */
  if ((from > 0 || to < width) && from < to && info->scale == 1 && c->max_h_samp_factor <= 2 && !c->progressive_mode) {
    JDIMENSION first = (JDIMENSION)from, count = (JDIMENSION)(to - from);
    jpeg_crop_scanline(c, &first, &count);
    info->from = (int)first;
    info->to = (int)(first + count);
  }
  return GOCLIP_JPEG_OK;
}

int goclip_jpeg_start(goclip_decoder *d, const unsigned char *data, size_t size, goclip_jpeg *info) {
  return take(start, d, data, size, info, NULL);
}

static int read_rows(goclip_decoder *d, goclip_jpeg *info, unsigned char *out) {
  struct jpeg_decompress_struct *c = &d->cinfo;
  size_t stride = (size_t)(info->to - info->from) * (size_t)info->components;
  while (c->output_scanline < c->output_height) {
    on_progress((j_common_ptr)c);
    JSAMPROW row = out + stride * c->output_scanline;
    if (jpeg_read_scanlines(c, &row, 1) != 1) {
      return GOCLIP_JPEG_TRUNCATED;
    }
  }
  /* Up to the end marker, as Pillow: data that is damaged inside often shows only there. */
  return jpeg_finish_decompress(c) ? GOCLIP_JPEG_OK : GOCLIP_JPEG_TRUNCATED;
}

int goclip_jpeg_read(goclip_decoder *d, const unsigned char *data, size_t size, goclip_jpeg *info, unsigned char *out) {
  return take(read_rows, d, data, size, info, out);
}

void goclip_jpeg_close(goclip_decoder *d) {
  if (d != NULL) {
    jpeg_destroy_decompress(&d->cinfo);
    free(d);
  }
}
