package data

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"

	"github.com/goclip/goclip/clip/preprocess"
)

// synthetic is open_clip's SyntheticDataset (open_clip_train/data.py): the same black image and
// the same caption, to see how fast a machine is and whether its options run. The loss stays at ln
// of the batch.
type synthetic struct {
	n       int
	picture []byte
}

var dummyCaption = []string{"Dummy caption"}

func newSynthetic(o Options) (Index, error) {
	if o.Samples < 1 {
		return nil, fmt.Errorf("data: Samples %d: synthetic data has at least 1", o.Samples)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, max(o.Size[1], 1), max(o.Size[0], 1)))); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return &synthetic{o.Samples, b.Bytes()}, nil
}

func (s *synthetic) Len() int { return s.n }

func (s *synthetic) Key(i int) string { return fmt.Sprintf("synthetic:%d", i) }

func (s *synthetic) Captions(int) []string { return dummyCaption }

// Sample i is a class of its own: to a loss that knows equal captions they would be one otherwise.
func (s *synthetic) Sample(_ context.Context, i int) (Sample, error) {
	return Sample{Image: preprocess.FromBytes(s.picture), Texts: dummyCaption, ID: s.Key(i), Class: s.Key(i)}, nil
}
