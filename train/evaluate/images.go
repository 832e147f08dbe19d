package evaluate

import (
	"context"
	"fmt"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
)

// Classes is a data set of labelled images, as [data.OpenFolders], [data.OpenBenchmark] and
// [data.Labels] give one.
type Classes interface {
	data.Dataset
	Classes() []string // names of classes, or of their folders, see [ClassNames]
	Class(i int) int   // sample i's place in Classes
}

// Images are labelled images, ready to evaluate zero-shot classification and linear probes.
type Images struct {
	*data.Loader
	Set Classes
	o   Options
}

// NewImages makes d ready for models that take the images of m.
func NewImages(ctx context.Context, m *clip.Model, d Classes, o *Options) (*Images, error) {
	i := &Images{Set: d, o: o.filled()}
	var err error
	i.Loader, err = newLoader(ctx, m, d, i.o, false)
	return i, err
}

// ZeroShot is what a classifier reaches. With fewer than five classes the top 5 is all of them.
type ZeroShot struct {
	*clip.Confusion     // of the images that were read
	Classes         int // of the classifier
	Unreadable      int // images that do not count
}

// ZeroShot classifies the images with c, a classifier of m for the classes of Set, in their order.
// When ctx ends, its error is returned.
func (i *Images) ZeroShot(ctx context.Context, m *clip.Model, c *clip.Classifier) (*ZeroShot, error) {
	if n := len(i.Set.Classes()); len(c.Names) < n {
		return nil, fmt.Errorf("evaluate: the classifier has %d classes and the images %d", len(c.Names), n)
	}
	z := &ZeroShot{Confusion: clip.NewConfusion(len(c.Names)), Classes: len(c.Names)}
	err := i.encode(ctx, m, func(b *data.Batch, rows []float32) error {
		predictions, err := c.Top(slices.Collect(slices.Chunk(rows, m.Dim())), 5)
		for k, top := range predictions {
			z.Add(i.Set.Class(b.Samples[k]), top)
		}
		return err
	})
	z.Unreadable = i.Set.Len() - z.N
	return z, err
}

// Features returns the L2-normalised features of the images that can be read, with their classes.
func (i *Images) Features(ctx context.Context, m *clip.Model) (out Labelled, err error) {
	err = i.encode(ctx, m, func(b *data.Batch, rows []float32) error {
		out.Features = append(out.Features, rows...)
		for _, sample := range b.Samples {
			out.Classes = append(out.Classes, i.Set.Class(sample))
		}
		return nil
	})
	return out, err
}

// encode calls f with the features of each batch.
func (i *Images) encode(ctx context.Context, m *clip.Model, f func(b *data.Batch, rows []float32) error) error {
	read := 0
	err := batches(ctx, i.Loader, i.o, func(b *data.Batch) error {
		read += b.N
		rows, err := m.ImageFeatures(b.Pixels, b.N)
		if err != nil {
			return err
		}
		return f(b, rows)
	})
	if err == nil && read == 0 {
		return ErrUnreadable
	}
	return err
}
