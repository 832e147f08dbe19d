package data

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
)

// synthetic is open_clip's SyntheticDataset (open_clip_train/data.py): the same black picture and the same caption, to see
// how fast a machine is and whether a command line runs. The loss stays at ln of the batch.
type synthetic struct {
	n       int
	picture []byte
}

var dummyCaption = []string{"Dummy caption"}

func newSynthetic(o OpenOptions) (Dataset, error) {
	if o.Samples < 1 {
		return nil, errors.New("data: --dataset-type synthetic wants --train-num-samples")
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

func (s *synthetic) Image(int) ([]byte, error) { return s.picture, nil }

// IDs differ for each sample: to an id-aware loss equal ones would be one picture.
func (s *synthetic) IDs(i, _ int) (image, text int64) { return int64(i), int64(i) }
