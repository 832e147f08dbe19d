// Package preprocess turns picture bytes into the tensor that CLIP's image tower reads.
//
// It gives the pixels that Pillow and torchvision give with open_clip's transforms, because a model only keeps its
// published scores on the pixels that it was trained on. The rules:
//
//   - Decode tells the format by content, never by name, and keeps the file's own mode (palette, grey, alpha, CMYK,
//     16 bit), as Pillow does.
//   - Resizing happens in that mode, in the integer arithmetic of Pillow 13: palette and 1-bit pictures by the nearest
//     pixel, pictures with alpha premultiplied. Only then are they converted to RGB. Alpha is dropped, never blended.
//   - The orientation in EXIF data is passed over, as all of CLIP's transforms pass it over, unless Limits.Orient is set.
//     Pillow itself turns TIFF alone.
//   - Hugging Face's processors go another way: to RGB first, then resized. ParseHuggingFace reads their configuration.
//   - Sizes and crop origins round as torchvision rounds them.
//   - Limits are checked on the header, before any pixel is allocated. A bad picture gives one error, never a panic.
//
// Nothing here starts goroutines. Transform and TrainTransform are safe for concurrent use: callers run one per
// worker or share one.
//
// JPEG is decoded by libjpeg-turbo through cgo; the columns that a crop drops are not decoded into pixels. On x86-64 the
// passes of a resize run on AVX2 or AVX-512, elsewhere in Go, with equal bytes. The build tag nojpegturbo, or CGO_ENABLED=0, takes image/jpeg
// instead, whose chroma differs a little.
package preprocess
