// Package preprocess turns image bytes into the tensor that CLIP's image tower reads.
//
// It gives the pixels that Pillow and torchvision give with open_clip's transforms, because a model only keeps its
// published scores on the pixels that it was trained on. The rules:
//
//   - Decode tells the format by content, never by name, and keeps the file's own mode (palette, grey,
//     alpha, CMYK, 16 bit), as Pillow does. Files that break their format's rules are read where
//     Pillow reads them; testdata/preprocess/untidy.json has 600 of them, and untidy_test.go the few
//     that are read otherwise.
//   - Resizing happens in that mode, in the integer arithmetic of Pillow 13: palette and 1-bit images
//     by the nearest pixel, images with alpha premultiplied. Only then are they converted to RGB.
//     Alpha is dropped, never blended.
//   - The orientation in EXIF data is passed over, as all of CLIP's transforms pass it over, unless
//     Limits.Orient is set. Pillow itself turns TIFF alone. HEIC and AVIF are always upright.
//   - A camera's raw file gives the largest JPEG preview in it; nothing is developed.
//   - Hugging Face's processors go another way: to RGB first, then resized. ParseHuggingFace reads
//     their configuration.
//   - Sizes and crop origins round as torchvision rounds them.
//   - Limits are checked on the header, before any pixel is allocated; ReadHeader tells what a decode
//     would take. A bad image gives one error, never a panic. Decoding stops when its context ends.
//
// Nothing here starts goroutines that outlive a call. Transform and TrainTransform are safe for
// concurrent use: callers run one per worker or share one.
//
// JPEG is decoded by libjpeg-turbo through cgo; the columns that a crop drops are not decoded into
// pixels. On x86-64 the passes of a resize run on AVX2 or AVX-512, elsewhere in Go, with equal bytes.
// The build tag nojpegturbo, or CGO_ENABLED=0, takes image/jpeg instead, whose chroma differs a
// little. HEIC and AVIF are decoded by libheif where the system has it when the program runs; the build
// tag nosystem leaves that out, and Limits.NoSystem refuses them. So it is with JPEG XL and
// libjxl, and with JPEG 2000 and OpenJPEG. All other formats are read in Go.
package preprocess
