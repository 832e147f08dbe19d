package data_test

import (
	"context"
	"image"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// open is data.Open with what its result knows beyond the contract.
func open(t testing.TB, spec string, o data.Options) (*data.Sources, error) {
	t.Helper()
	set, err := data.Open(t.Context(), spec, &o)
	if err != nil {
		require.Nil(t, set)
		return nil, err
	}
	return set.(*data.Sources), nil
}

// fileOf is the file of a sample's image.
func fileOf(t testing.TB, set data.Dataset, i int) ([]byte, error) {
	t.Helper()
	s, err := set.Sample(t.Context(), i)
	require.NoError(t, err)
	return s.Image.Bytes(t.Context(), preprocess.DefaultLimits)
}

func fingerprint(t testing.TB, set data.Dataset) uint64 {
	t.Helper()
	print, err := data.Fingerprint(t.Context(), set)
	require.NoError(t, err)
	return print
}

// only is one sample of a set, with one of its captions and a blank image.
type only struct {
	data.Dataset
	i, caption int
}

func (o only) Len() int { return 1 }

func (o only) Sample(ctx context.Context, _ int) (data.Sample, error) {
	s, err := o.Dataset.Sample(ctx, o.i)
	s.Image = preprocess.FromImage(image.NewGray(image.Rect(0, 0, 1, 1)))
	s.Texts = s.Texts[o.caption : o.caption+1]
	return s, err
}

// ids are what a Loader says of a sample and one of its captions.
func ids(t testing.TB, set data.Dataset, i, caption int) (image, text int64) {
	t.Helper()
	nothing := func([]float32, *preprocess.Image, *rand.Rand) error { return nil }
	b := read(t, only{set, i, caption}, data.LoaderOptions{BatchSize: 1, Transform: nothing}, 0, 0)
	return b[0].ImageIDs[0], b[0].TextIDs[0]
}
