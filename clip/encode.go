package clip

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/goclip/goclip/clip/preprocess"
)

// ImageSource gives a picture to [Model.EncodeImages]: it writes the pixels of t's result to dst, (3, H, W), len
// t.Len(). It may be called in any goroutine, and once.
type ImageSource func(dst []float32, t *preprocess.Transform) error

// FromFile is the picture file at path: PNG, JPEG, WebP, GIF, BMP or TIFF.
func FromFile(path string) ImageSource {
	return func(dst []float32, t *preprocess.Transform) error { return t.File(dst, path) }
}

// FromBytes is a picture file's bytes.
func FromBytes(data []byte) ImageSource {
	return func(dst []float32, t *preprocess.Transform) error { return t.Bytes(dst, data) }
}

// FromReader is a picture file that is read to its end, such as a request's body; preprocess.DefaultLimits say how much
// is read at most.
func FromReader(r io.Reader) ImageSource {
	return func(dst []float32, t *preprocess.Transform) error {
		data, err := io.ReadAll(io.LimitReader(r, preprocess.DefaultLimits.MaxBytes+1)) // one more: Bytes refuses it
		if err != nil {
			return fmt.Errorf("clip: a picture could not be read: %w", err)
		}
		return t.Bytes(dst, data)
	}
}

// FromImage is a picture that Go has decoded or drawn. Of a JPEG, FromBytes has the pixels that models are trained on;
// Go's own decoder has others, a little.
func FromImage(img image.Image) ImageSource {
	return func(dst []float32, t *preprocess.Transform) error {
		converted, err := preprocess.Convert(img)
		if err != nil {
			return err
		}
		return t.Apply(dst, converted)
	}
}

// ImageError says which of the pictures given to [Model.EncodeImages] cannot be read, and why.
type ImageError struct {
	Index int
	Err   error
}

func (e *ImageError) Error() string { return e.Err.Error() }

// Unwrap gives why: it matches one of preprocess's errors, or fs.ErrNotExist.
func (e *ImageError) Unwrap() error { return e.Err }

// batchOfImages are decoded, and then run through the picture tower, at a time.
const batchOfImages = 32

// EncodeImages reads, transforms and encodes pictures into L2-normalised rows, (len(images), E). It may be called from
// any number of goroutines: they decode side by side, and the model takes their batches in turn.
// When ctx ends, its error is returned. When pictures cannot be read the error is an [*ImageError], of the first one.
func (m *Model) EncodeImages(ctx context.Context, images ...ImageSource) ([]float32, error) {
	transform, err := m.Transform()
	if err != nil {
		return nil, err
	}
	rows := make([]float32, 0, len(images)*m.Config.EmbedDim)
	for from := 0; from < len(images); from += batchOfImages {
		batch := images[from:min(from+batchOfImages, len(images))]
		pixels, err := readImages(ctx, transform, batch)
		if bad := (*ImageError)(nil); errors.As(err, &bad) {
			bad.Index += from
		}
		if err != nil {
			return nil, err
		}
		var out []float32
		err = m.inTurn(ctx, func() (err error) {
			out, err = m.ImageFeatures(pixels, len(batch))
			return err
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, out...)
	}
	return rows, nil
}

// readImages gives the pixels of a batch, (len(images), 3, H, W).
func readImages(ctx context.Context, t *preprocess.Transform, images []ImageSource) ([]float32, error) {
	pixels, errs := make([]float32, len(images)*t.Len()), make([]error, len(images))
	read := func(i int) {
		if errs[i] = ctx.Err(); errs[i] != nil {
			return
		}
		if err := images[i](pixels[i*t.Len():(i+1)*t.Len()], t); err != nil {
			errs[i] = &ImageError{i, err}
		}
	}
	if len(images) == 1 {
		read(0)
		return pixels, errs[0]
	}
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(len(images), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := range next {
				read(i)
			}
		})
	}
	for i := range images {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, errs[i]
	}
	return pixels, nil
}

// EncodeTexts encodes texts into L2-normalised rows, (len(texts), E). What is longer than the context length is cut,
// as CLIP cuts it; [Model.Tokenize] tells. It may be called from any number of goroutines, as EncodeImages.
func (m *Model) EncodeTexts(ctx context.Context, texts ...string) ([]float32, error) {
	rows := make([]float32, 0, len(texts)*m.Config.EmbedDim)
	for batch := range slices.Chunk(texts, batchOfPrompts) {
		ids, _, err := m.Tokenize(batch...)
		if err != nil {
			return nil, err
		}
		var out []float32
		err = m.inTurn(ctx, func() (err error) {
			out, err = m.TextFeatures(ids, len(batch))
			return err
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, out...)
	}
	return rows, nil
}

// Classify is, for each picture, its k most probable classes of c, or all when there are fewer, the best one first. It
// may be called from any number of goroutines, and has EncodeImages's errors.
func (m *Model) Classify(ctx context.Context, c *Classifier, k int, images ...ImageSource) ([][]Guess, error) {
	rows, err := m.EncodeImages(ctx, images...)
	if err != nil {
		return nil, err
	}
	var guesses [][]Guess
	err = m.inTurn(ctx, func() (err error) {
		guesses, err = c.Top(rows, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	return guesses, nil
}
