package clip

import (
	"sync"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/torch"
)

// uploads are the bytes of batches on their way to a GPU, kept for the next batch.
var uploads = sync.Pool{New: func() any { return new([]uint8) }}

// UploadImages begins to send n normalised images, (n, 3, H, W) in row-major order, to the model's
// device, and returns at once; [Model.Uploaded] is what arrived. To a GPU they go as the bytes that
// [Model.Transform] made them of, a quarter of their size, and are normalised there to the same
// numbers. Images that are of no bytes go as they are.
func (m *Model) UploadImages(pixels []float32, n int) (*torch.Upload, error) {
	size := m.Config.Vision.PixelSize()
	if m.Device().Type == "cuda" {
		buffer := uploads.Get().(*[]uint8)
		defer uploads.Put(buffer)
		if bytes := m.imageBytes(pixels, buffer); bytes != nil {
			return torch.NewUpload(bytes, m.Device(), n, 3, size.Height, size.Width)
		}
	}
	return torch.NewUpload(pixels, m.Device(), n, 3, size.Height, size.Width)
}

// imageBytes are the bytes that pixels were made of, in the buffer; nil if they were not.
func (m *Model) imageBytes(pixels []float32, buffer *[]uint8) []uint8 {
	t, err := m.Transform()
	if err != nil {
		return nil
	}
	if cap(*buffer) < len(pixels) {
		*buffer = make([]uint8, len(pixels))
	}
	bytes := (*buffer)[:len(pixels)]
	if !t.Denormalise(bytes, pixels) {
		return nil
	}
	return bytes
}

// Uploaded returns the images of [Model.UploadImages], (n, 3, H, W) normalised float32 on the model's
// device, in the scope s. Call it in [torch.Do].
func (m *Model) Uploaded(s *torch.Scope, u *torch.Upload) *torch.Tensor {
	x := s.Alias(u.Tensor())
	if x.DType() != torch.Uint8 {
		return x
	}
	t, err := m.Transform()
	if err != nil {
		refuse("uploaded", x, "%v", err) // it made the bytes
	}
	return normalised(x, t.Config())
}

// normalised is what a [preprocess.Transform] makes of bytes, to the last bit: by the same operations
// in the same order. libtorch divides by a tensor, and multiplies where it is to divide by a number.
func normalised(x *torch.Tensor, c preprocess.Config) *torch.Tensor {
	channels := func(v [3]float32) *torch.Tensor { return torch.FromSliceLike(x, v[:], 3, 1, 1) }
	return x.To(x.Device(), torch.Float32).Div(channels([3]float32{255, 255, 255})).Sub(channels(c.Mean)).Div(channels(c.Std))
}
