package data_test

import (
	"context"
	"errors"
	"image"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

// album is a data set as a user writes one: images drawn in Go and images as files, some of them
// the same, each with captions.
type album struct {
	levels []uint8 // the grey of each image
	texts  [][]string
	broken int // that cannot be read
	asked  []atomic.Int64
}

func newAlbum() *album {
	a := &album{levels: []uint8{10, 20, 30, 10, 40, 50}, broken: 4, asked: make([]atomic.Int64, 6),
		texts: [][]string{{"ten", "10", "X"}, {"twenty"}, {"thirty", "30"}, {"ten"}, {"forty"}, {"fifty", "50"}}}
	return a
}

func (a *album) Len() int { return len(a.levels) }

func (a *album) Sample(_ context.Context, i int) (data.Sample, error) {
	a.asked[i].Add(1)
	if i == a.broken {
		return data.Sample{}, errors.New("the album has a hole")
	}
	img := image.NewGray(image.Rect(0, 0, 3, 2))
	for p := range img.Pix {
		img.Pix[p] = a.levels[i]
	}
	s := data.Sample{Image: preprocess.FromImage(img), Texts: a.texts[i], ID: string(rune('a' + a.levels[i]/10))}
	if i == 1 {
		s.ID = "" // no other sample has it
	}
	return s, nil
}

func drawing(batch, workers int) *data.LoaderOptions {
	return &data.LoaderOptions{BatchSize: batch, Workers: workers, Seed: 3, Shuffle: true, DrawCaption: true, Pixels: 2, Transform: jittered,
		Tokenize: func(text string) []int64 { return []int64{int64(len(text)), int64(text[0])} }}
}

// TestOwnDataset trains on a user's own data with all that the built-in data has.
func TestOwnDataset(t *testing.T) {
	for name, change := range map[string]func(o *data.LoaderOptions){
		"shuffled":  func(*data.LoaderOptions) {},
		"resampled": func(o *data.LoaderOptions) { o.Resampled, o.NumSamples = true, 40 },
		"in order":  func(o *data.LoaderOptions) { o.Shuffle = false },
		"left out":  func(o *data.LoaderOptions) { o.SkipBad = true },
		"cached":    func(o *data.LoaderOptions) { o.CacheSize = 1 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			a, o := newAlbum(), drawing(2, 1)
			change(o)
			want := read(t, a, *o, 5, 0)
			seen := map[int]int64{}
			for _, b := range want {
				for i, s := range b.Samples {
					text := a.texts[s][b.Captions[i]]
					assert.Equal(t, a.texts[s], b.Texts[i])
					assert.Equal(t, []int64{int64(len(text)), int64(text[0])}, b.Tokens[2*i:2*i+2])
					assert.Equal(t, float32(a.levels[s]), b.Pixels[2*i])
					seen[s] = b.ImageIDs[i]
				}
			}
			assert.NotContains(t, seen, a.broken)
			for s, id := range seen {
				for other, otherID := range seen {
					assert.Equal(t, a.levels[s] == a.levels[other], id == otherID, "samples %d and %d", s, other)
				}
			}
			o.Workers = 5
			assert.Equal(t, want, read(t, a, *o, 5, 0), "whatever the number of workers")
			assert.Equal(t, want[1:], read(t, a, *o, 5, 1), "and from the middle of an epoch")
		})
	}
}

// TestOwnDatasetKept asks for each sample once where decoded images are kept, and lists a bad one
// by a name.
func TestOwnDatasetKept(t *testing.T) {
	a, o := newAlbum(), drawing(2, 1) // one worker: two may decode the neighbour of a bad sample at once
	o.CacheSize = 1 << 10
	loader, err := data.NewLoader(a, o)
	require.NoError(t, err)
	texts := map[int64]bool{}
	for epoch := range 8 {
		for b, err := range loader.Epoch(t.Context(), epoch, 0) {
			require.NoError(t, err)
			for _, id := range b.TextIDs {
				texts[id] = true
			}
		}
	}
	for i := range a.Len() {
		if i != a.broken {
			assert.EqualValues(t, 1, a.asked[i].Load(), "sample %d", i)
		}
	}
	assert.Len(t, texts, 8, "of 8 captions that differ each was drawn")
	require.Len(t, loader.Bad(), 1)
	assert.Equal(t, "sample 4", loader.Bad()[0].Key)
	assert.EqualError(t, loader.Bad()[0].Err, "the album has a hole")
}

// TestOwnClasses makes the pairs of a class equal to a loss that knows equal images and captions.
func TestOwnClasses(t *testing.T) {
	set := func(_ context.Context, i int) (data.Sample, error) {
		return data.Sample{Image: preprocess.FromBytes(greyPNG(t, uint8(i))), Texts: []string{[]string{"a cat", "a dog", "the cat"}[i%3]}, Class: []string{"cat", "dog", "cat"}[i%3]}, nil
	}
	b := read(t, samplesOf{6, set}, data.LoaderOptions{BatchSize: 6, Transform: func([]float32, *preprocess.Image, *rand.Rand) error { return nil }}, 0, 0)[0]
	assert.Equal(t, b.ImageIDs, b.TextIDs)
	for i := range 6 {
		assert.Equal(t, i%3 != 1, b.ImageIDs[i] == b.ImageIDs[0])
	}
}

// samplesOf is n samples that a function makes.
type samplesOf struct {
	n      int
	sample func(ctx context.Context, i int) (data.Sample, error)
}

func (s samplesOf) Len() int { return s.n }

func (s samplesOf) Sample(ctx context.Context, i int) (data.Sample, error) { return s.sample(ctx, i) }

// TestOwnDatasetRefusals says what is wrong with a set or with a loader's options, and blames no
// sample for a run that was stopped.
func TestOwnDatasetRefusals(t *testing.T) {
	for want, change := range map[string]func(o *data.LoaderOptions){
		"data: BatchSize 0: must be at least 1":                  func(o *data.LoaderOptions) { o.BatchSize = 0 },
		"data: Transform is nil: it must make an image's pixels": func(o *data.LoaderOptions) { o.Transform = nil },
		"data: 6 samples make no batch of 7; give a smaller BatchSize": func(o *data.LoaderOptions) {
			o.BatchSize, o.DropLast = 7, true
		},
	} {
		o := drawing(2, 1)
		change(o)
		_, err := data.NewLoader(newAlbum(), o)
		assert.EqualError(t, err, want)
	}
	_, err := data.NewLoader(newAlbum(), nil)
	assert.EqualError(t, err, "data: BatchSize 0: must be at least 1")

	mute := samplesOf{3, func(context.Context, int) (data.Sample, error) {
		return data.Sample{ID: "mute", Image: preprocess.FromBytes(greyPNG(t, 1))}, nil
	}}
	loader, err := data.NewLoader(mute, drawing(2, 1))
	require.NoError(t, err)
	for _, err := range loader.Epoch(t.Context(), 0, 0) {
		assert.EqualError(t, err, "data: none of the 3 samples can be read, the last one: mute: data: it has no caption")
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiting := samplesOf{3, func(ctx context.Context, _ int) (data.Sample, error) {
		cancel()
		<-ctx.Done()
		return data.Sample{}, ctx.Err()
	}}
	loader, err = data.NewLoader(waiting, drawing(2, 2))
	require.NoError(t, err)
	for _, err := range loader.Epoch(ctx, 0, 0) {
		assert.ErrorIs(t, err, context.Canceled)
	}
	assert.Empty(t, loader.Bad())
}

// TestFingerprintOfOwn tells other data by its length, names and captions.
func TestFingerprintOfOwn(t *testing.T) {
	print := func(n int, id, text string) uint64 {
		return fingerprint(t, samplesOf{n, func(_ context.Context, i int) (data.Sample, error) {
			return data.Sample{ID: id, Texts: []string{text}}, nil
		}})
	}
	same := print(1000, "a", "b")
	assert.Equal(t, same, print(1000, "a", "b"))
	for _, other := range []uint64{print(1001, "a", "b"), print(1000, "c", "b"), print(1000, "a", "c"), print(0, "a", "b")} {
		assert.NotEqual(t, same, other)
	}
}

// TestOptionErrors are worded for those who know the options by other names.
func TestOptionErrors(t *testing.T) {
	dir := tree(t, map[string][]byte{"a.jsonl": []byte(`{"src":"a","text":"b"}`)})
	_, err := data.Open(t.Context(), dir+"/a.jsonl", nil)
	var option *data.OptionError
	require.ErrorAs(t, err, &option)
	assert.Equal(t, "ImageKey", option.Option)
	assert.EqualError(t, err, `data: `+dir+`/a.jsonl: line 1: it has no key "filepath", only ["src" "text"]; ImageKey names another`)
	assert.Equal(t, `data: `+dir+`/a.jsonl: line 1: it has no key "filepath", only ["src" "text"]; --img names another`, option.Named("--img"))
}
