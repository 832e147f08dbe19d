package clip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"iter"
	"runtime"
	"slices"
	"sync"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/ahead"
)

// ImageSource is an image that is not decoded yet: [FromFile], [FromBytes], [FromReader],
// [FromImage], or what package preprocess makes besides.
type ImageSource = preprocess.Source

// FromFile returns the image file at path. Errors name the path; a missing file matches fs.ErrNotExist.
func FromFile(path string) ImageSource { return preprocess.FromFile(path) }

// FromFiles returns the image files at paths, for [Model.EncodeImageSeq].
func FromFiles(paths ...string) iter.Seq[ImageSource] {
	return func(yield func(ImageSource) bool) {
		for _, path := range paths {
			if !yield(FromFile(path)) {
				return
			}
		}
	}
}

// FromBytes returns the content of an image file. data must not be changed while the source is in use.
func FromBytes(data []byte) ImageSource { return preprocess.FromBytes(data) }

// FromReader returns an image file that is read to its end, such as a request's body. It can be read
// once.
func FromReader(r io.Reader) ImageSource { return preprocess.FromReader(r) }

// FromImage returns an image that Go has decoded or drawn. For a JPEG, [FromBytes] gives the pixels that
// models are trained on; Go's own decoder gives slightly different ones.
func FromImage(img image.Image) ImageSource { return preprocess.FromImage(img) }

// ImageError says which of several images cannot be read, and why.
type ImageError struct {
	Index int
	Err   error
}

func (e *ImageError) Error() string { return e.Err.Error() }

// Unwrap gives the reason: it matches one of preprocess's errors, or fs.ErrNotExist.
func (e *ImageError) Unwrap() error { return e.Err }

// Encoder encodes sequences of any length in batches. Its methods may be called from any number of
// goroutines: images are decoded side by side, and the model takes the batches in turn.
type Encoder struct {
	Model     *Model
	BatchSize int  // images or texts that run through a tower at once; 0 is 32 images and 128 texts; at most 65,536
	Raw       bool // features as they leave the tower, not L2-normalised

	// Orient turns images upright as the orientation in their EXIF data says, which cameras and
	// phones write. CLIP's own transforms do not, and neither does the zero value.
	Orient bool

	// Sized, if not nil, is called with image i's own size in pixels, before its row is yielded.
	Sized func(i, width, height int)
	// Cut, if not nil, is called for each text that is longer than the context length, before its row is
	// yielded.
	Cut func(i int, text string)
}

// batchOfImages and batchOfTexts are what an Encoder's BatchSize is by default.
const (
	batchOfImages = 32
	batchOfTexts  = 128
)

// maxBatchSize bounds an Encoder's BatchSize: beyond it a number is a slip, and memory would not do.
const maxBatchSize = 65536

// check refuses an Encoder that cannot encode.
func (e Encoder) check() error {
	switch {
	case e.Model == nil:
		return errors.New("clip: the Encoder has no Model")
	case e.BatchSize < 0 || e.BatchSize > maxBatchSize:
		return fmt.Errorf("clip: BatchSize %d: must be between 0, for the default, and %d", e.BatchSize, maxBatchSize)
	}
	return nil
}

// EncodeImages encodes images into L2-normalised rows of length [Model.Dim]. When ctx ends, its
// error is returned. When an image cannot be read, the error is an [*ImageError] for the first of
// them. It may be called from any number of goroutines.
func (m *Model) EncodeImages(ctx context.Context, images ...ImageSource) ([][]float32, error) {
	rows := make([][]float32, 0, len(images))
	e := Encoder{Model: m, BatchSize: min(len(images), batchOfImages)} // a few images take the memory of a few
	for row, err := range e.Images(ctx, slices.Values(images)) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// EncodeTexts encodes texts into L2-normalised rows of length [Model.Dim]. A text longer than the
// context length is cut, as CLIP cuts it; [Model.Tokenize] tells which. It may be called from any
// number of goroutines.
func (m *Model) EncodeTexts(ctx context.Context, texts ...string) ([][]float32, error) {
	rows := make([][]float32, 0, len(texts))
	for row, err := range m.EncodeTextSeq(ctx, slices.Values(texts)) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// EncodeImageSeq yields the L2-normalised row of each image, in order; images are decoded ahead. An
// image that cannot be read yields an [*ImageError], and the others continue. Any other error, such as
// that of ctx, ends the sequence. images is read in a goroutine of its own, and the loop ends when
// that has stopped: a sequence that waits, on a channel for example, should stop when ctx ends.
func (m *Model) EncodeImageSeq(ctx context.Context, images iter.Seq[ImageSource]) iter.Seq2[[]float32, error] {
	return Encoder{Model: m}.Images(ctx, images)
}

// EncodeTextSeq yields the L2-normalised row of each text, in order. An error ends the sequence.
func (m *Model) EncodeTextSeq(ctx context.Context, texts iter.Seq[string]) iter.Seq2[[]float32, error] {
	return Encoder{Model: m}.Texts(ctx, texts)
}

// Images is [Model.EncodeImageSeq] with the encoder's batch size. Memory holds four batches,
// however many images there are.
func (e Encoder) Images(ctx context.Context, images iter.Seq[ImageSource]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		if err := e.check(); err != nil {
			yield(nil, err)
			return
		}
		transform, err := e.Model.Transform()
		if err == nil {
			err = begun(ctx)
		}
		if err == nil && images == nil {
			err = errors.New("clip: the sequence of images is nil")
		}
		if err != nil {
			yield(nil, err)
			return
		}
		transform = transform.WithLimits(preprocess.Limits{Orient: e.Orient})
		size, length := cmp.Or(e.BatchSize, batchOfImages), transform.Len()
		type decoded struct {
			width, height int
			err           error // why it has no pixels
		}
		waiting := make([]decoded, 0, size) // the images of the batch
		batch := 0
		// flush runs the model on the images that wait and yields their rows.
		var pixels batches
		flush := func() bool {
			at := pixels.of(batch, size*length)
			n := 0
			for i, d := range waiting {
				if d.err != nil {
					continue
				}
				if n < i { // close the gap of an image that could not be read
					copy(at[n*length:][:length], at[i*length:])
				}
				n++
			}
			rows, err := e.imageRows(ctx, at[:n*length], n)
			if err != nil {
				yield(nil, err)
				return false
			}
			for i, d := range waiting {
				if d.err != nil {
					if !yield(nil, &ImageError{batch*size + i, d.err}) {
						return false
					}
					continue
				}
				if e.Sized != nil {
					e.Sized(batch*size+i, d.width, d.height)
				}
				if !yield(rows[0], nil) {
					return false
				}
				rows = rows[1:]
			}
			waiting, batch = waiting[:0], batch+1
			return true
		}
		// One batch is in the model's hands, two are decoded and wait, and with them a fourth begins.
		type slot struct {
			source ImageSource
			pixels []float32
		}
		slots := func(yield func(slot) bool) {
			i := 0
			for source := range images {
				if !yield(slot{source, pixels.of(i/size, size*length)[i%size*length:][:length]}) {
					return
				}
				i++
			}
		}
		decode := func(_ int, s slot) (d decoded) {
			d.width, d.height, d.err = transform.Source(ctx, s.pixels, s.source)
			return d
		}
		for d := range ahead.Map(slots, runtime.GOMAXPROCS(0), 2*size, decode) {
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if waiting = append(waiting, d); len(waiting) == size && !flush() {
				return
			}
		}
		if len(waiting) > 0 {
			flush()
		}
	}
}

// batches are the pixels of four batches in turn, each made when it is first needed.
type batches struct {
	mutex  sync.Mutex
	pixels [4][]float32
}

func (b *batches) of(batch, length int) []float32 {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	p := &b.pixels[batch%len(b.pixels)]
	if *p == nil {
		*p = make([]float32, length)
	}
	return *p
}

// imageRows encodes n decoded images, (n, 3, H, W), when the model's turn comes.
func (e Encoder) imageRows(ctx context.Context, pixels []float32, n int) ([][]float32, error) {
	if n == 0 {
		return nil, nil
	}
	var flat []float32
	err := e.Model.inTurn(ctx, func() (err error) {
		flat, err = e.Model.imageFeatures(pixels, n, e.Raw)
		return err
	})
	if err != nil { // flat may still be written to
		return nil, err
	}
	return e.Model.rowsOf(flat), nil
}

// Texts is [Model.EncodeTextSeq] with the encoder's batch size.
func (e Encoder) Texts(ctx context.Context, texts iter.Seq[string]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		if err := e.check(); err != nil {
			yield(nil, err)
			return
		}
		m := e.Model
		t, err := m.Tokenizer(ctx)
		if err == nil && texts == nil {
			err = errors.New("clip: the sequence of texts is nil")
		}
		if err != nil {
			yield(nil, err)
			return
		}
		size, length := cmp.Or(e.BatchSize, batchOfTexts), m.ContextLength()
		ids := make([]int64, 0, size*length)
		flush := func() bool {
			var flat []float32
			batch := ids
			err := m.inTurn(ctx, func() (err error) {
				flat, err = m.textFeatures(batch, len(batch)/length, e.Raw)
				return err
			})
			if err != nil { // flat may still be written to
				yield(nil, err)
				return false
			}
			for _, row := range m.rowsOf(flat) {
				if !yield(row, nil) {
					return false
				}
			}
			ids = ids[:0]
			return true
		}
		i := 0
		for text := range texts {
			row, cut := t.Tokenize(text, length)
			if cut && e.Cut != nil {
				e.Cut(i, text)
			}
			i++
			if ids = append(ids, row...); len(ids) == size*length && !flush() {
				return
			}
		}
		if len(ids) > 0 {
			flush()
		}
	}
}

// rowsOf cuts features (n, E) into rows.
func (m *Model) rowsOf(flat []float32) [][]float32 {
	rows := make([][]float32, 0, len(flat)/max(1, m.Dim()))
	for row := range slices.Chunk(flat, m.Dim()) {
		rows = append(rows, row)
	}
	return rows
}
