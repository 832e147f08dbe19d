//go:build cgo && !nojpegturbo

#include "jpeg_turbo.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

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
  longjmp(e->back, 1);
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

typedef struct {
  struct jpeg_decompress_struct cinfo;
  error_manager error;
  struct jpeg_source_mgr source;
} decoder;

static void decoder_open(decoder *d, const unsigned char *data, size_t size) {
  jpeg_create_decompress(&d->cinfo);
  d->source.init_source = source_nothing;
  d->source.fill_input_buffer = source_fill;
  d->source.skip_input_data = source_skip;
  d->source.resync_to_restart = jpeg_resync_to_restart;
  d->source.term_source = source_nothing;
  d->source.next_input_byte = data;
  d->source.bytes_in_buffer = size;
  d->cinfo.src = &d->source;
}

static void decoder_errors(decoder *d, goclip_jpeg *info) {
  memset(d, 0, sizeof(*d));
  info->message[0] = 0;
  d->cinfo.err = jpeg_std_error(&d->error.base);
  d->error.base.error_exit = on_error;
  d->error.base.output_message = on_message;
  d->error.message = info->message;
}

/* Reads up to the first scan and sets the output that Pillow asks for. */
static int decoder_header(decoder *d, int scale, goclip_jpeg *info) {
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
  info->arithmetic = c->arith_code;
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
  c->scale_num = 1;
  c->scale_denom = (unsigned int)scale;
  jpeg_calc_output_dimensions(c);
  info->out_width = (int)c->output_width;
  info->out_height = (int)c->output_height;
  return GOCLIP_JPEG_OK;
}

int goclip_jpeg_header(const unsigned char *data, size_t size, int scale, goclip_jpeg *info) {
  decoder d;
  int rc;
  decoder_errors(&d, info);
  if (setjmp(d.error.back)) {
    jpeg_destroy_decompress(&d.cinfo);
    return GOCLIP_JPEG_BROKEN;
  }
  decoder_open(&d, data, size);
  rc = decoder_header(&d, scale, info);
  jpeg_destroy_decompress(&d.cinfo);
  return rc;
}

static int decode_rows(decoder *d, const goclip_jpeg *want, unsigned char *out) {
  struct jpeg_decompress_struct *c = &d->cinfo;
  size_t stride = (size_t)want->out_width * (size_t)want->components;
  if (!jpeg_start_decompress(c)) {
    return GOCLIP_JPEG_TRUNCATED;
  }
  while (c->output_scanline < c->output_height) {
    JSAMPROW row = out + stride * c->output_scanline;
    if (jpeg_read_scanlines(c, &row, 1) != 1) {
      return GOCLIP_JPEG_TRUNCATED;
    }
  }
  return GOCLIP_JPEG_OK;
}

int goclip_jpeg_decode(const unsigned char *data, size_t size, int scale, goclip_jpeg *info, unsigned char *out) {
  decoder d;
  goclip_jpeg want = *info;
  int rc;
  decoder_errors(&d, info);
  if (setjmp(d.error.back)) {
    jpeg_destroy_decompress(&d.cinfo);
    return GOCLIP_JPEG_BROKEN;
  }
  decoder_open(&d, data, size);
  rc = decoder_header(&d, scale, info);
  if (rc == GOCLIP_JPEG_OK && (info->out_width != want.out_width || info->out_height != want.out_height ||
                               info->components != want.components)) {
    snprintf(info->message, sizeof(info->message), "its header changed while it was read");
    rc = GOCLIP_JPEG_BROKEN;
  }
  if (rc == GOCLIP_JPEG_OK) {
    rc = decode_rows(&d, &want, out);
  }
  jpeg_destroy_decompress(&d.cinfo);
  return rc;
}
