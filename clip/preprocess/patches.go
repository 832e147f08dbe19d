package preprocess

import "math"

// Patches is the resize mode of a model that takes images of any shape (NaFlex, of SigLIP 2: arXiv
// 2502.14786, section 2.4.2). An image keeps its shape but for rounding: both sides become multiples
// of PatchSize, so that it has as many patches as there is room for.
//
// The result has Size pixels for every image, a grid of squares of PatchSize pixels. The patches of
// the image, row by row, fill the squares from the second row on, and zeros the rest. The first row of
// squares belongs to no patch: its first two pixels hold, in red, the rows of patches as 256a + b,
// and in green the columns.
const Patches = "patches"

// PatchesConfig is SigLIP 2's for at most so many patches of patch x patch pixels.
func PatchesConfig(patch, most int) Config {
	half := [3]float32{.5, .5, .5}
	rows := int(math.Sqrt(float64(max(most, 1))))
	for most%rows != 0 {
		rows--
	}
	return Config{Size: [2]int{(1 + rows) * patch, most / rows * patch}, Mode: "RGB", Mean: half, Std: half, Interpolation: Bilinear,
		ResizeMode: Patches, PatchSize: patch, Order: OrderHuggingFace}
}

// maxPatches is how many there is room for.
func (c *Config) maxPatches() int { return (c.Size[0]/c.PatchSize - 1) * (c.Size[1] / c.PatchSize) }

// flexibleSize is the size of a w x h image in whole patches, the largest that fits (transformers
// image_processing_siglip2.py get_image_size_for_max_num_patches).
func (c *Config) flexibleSize(w, h int) (ow, oh int) {
	patches := func(size int, scale float64) float64 {
		return max(math.Ceil(float64(size)*scale/float64(c.PatchSize)), 1)
	}
	const eps = 1e-5
	low, high := eps/10, 100.0
	for high-low >= eps {
		scale := (low + high) / 2
		if patches(h, scale)*patches(w, scale) <= float64(c.maxPatches()) {
			low = scale
		} else {
			high = scale
		}
	}
	return int(patches(w, low)) * c.PatchSize, int(patches(h, low)) * c.PatchSize
}

// image is where the normalised image (3, resH, resW) of a placement is written before lay: dst
// itself, but with Patches.
func (c *Config) image(b *scratch, dst []float32, p placement) []float32 {
	if c.ResizeMode != Patches {
		return dst
	}
	return grow(&b.image, 3*p.resH*p.resW)
}

// lay cuts an image that image gave into patches, in dst.
func (c *Config) lay(dst, image []float32, p placement) {
	if c.ResizeMode != Patches {
		return
	}
	clear(dst)
	size, width, plane := c.PatchSize, c.Size[1], c.Size[0]*c.Size[1]
	rows, columns, squares := p.resH/size, p.resW/size, width/size
	dst[0], dst[1], dst[plane], dst[plane+1] = float32(rows/256), float32(rows%256), float32(columns/256), float32(columns%256)
	for i := range rows * columns {
		from := i/columns*size*p.resW + i%columns*size
		to := (1+i/squares)*size*width + i%squares*size
		for channel := range 3 {
			for y := range size {
				copy(dst[channel*plane+to+y*width:][:size], image[channel*p.resH*p.resW+from+y*p.resW:])
			}
		}
	}
}
