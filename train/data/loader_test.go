package data_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/train/data"
)

func decode(b []byte) (*preprocess.Image, error) {
	return preprocess.Decode(context.Background(), b, preprocess.DefaultLimits)
}

// numbers is a data set of grey images, each with as many captions as is asked for; some cannot
// be read.
type numbers struct {
	pictures [][]byte
	captions int
	bad      map[int]bool
}

func newNumbers(t testing.TB, n, captions int, bad ...int) *numbers {
	s := &numbers{captions: captions, bad: map[int]bool{}}
	for i := range n {
		s.pictures = append(s.pictures, greyPNG(t, uint8(i)))
	}
	for _, i := range bad {
		s.bad[i] = true
	}
	return s
}

func (s *numbers) Len() int { return len(s.pictures) }
func (s *numbers) Sample(_ context.Context, i int) (data.Sample, error) {
	if s.bad[i] {
		return data.Sample{ID: fmt.Sprint("number ", i)}, errors.New("bad")
	}
	out := data.Sample{Image: preprocess.FromBytes(s.pictures[i]), ID: fmt.Sprint("number ", i)}
	for c := range s.captions {
		out.Texts = append(out.Texts, fmt.Sprintf("%d in words %d", i, c))
	}
	return out, nil
}

// jittered is an image's grey and a random number.
func jittered(dst []float32, img *preprocess.Image, rng *rand.Rand) error {
	dst[0], dst[1] = float32(img.Pix[0]), float32(rng.Float64())
	return nil
}

func reading(batch, workers int) data.LoaderOptions {
	return data.LoaderOptions{BatchSize: batch, Workers: workers, Seed: 7, Shuffle: true, DropLast: true, DrawCaption: true, Pixels: 2, Transform: jittered,
		Tokenize: func(text string) []int64 { return []int64{int64(len(text)), int64(text[len(text)-1])} }}
}

// read is an epoch's batches, copied.
func read(t testing.TB, set data.Dataset, o data.LoaderOptions, epoch, from int) (out []data.Batch) {
	t.Helper()
	loader, err := data.NewLoader(set, &o)
	require.NoError(t, err)
	for b, err := range loader.Epoch(context.Background(), epoch, from) {
		require.NoError(t, err)
		c := *b
		c.Wait = 0
		c.Samples, c.Captions, c.Pixels, c.Tokens = slices.Clone(b.Samples), slices.Clone(b.Captions), slices.Clone(b.Pixels), slices.Clone(b.Tokens)
		c.ImageIDs, c.TextIDs, c.Texts = slices.Clone(b.ImageIDs), slices.Clone(b.TextIDs), slices.Clone(b.Texts)
		out = append(out, c)
	}
	return out
}

// TestSameBatches gives the same batches with any number of workers, from the middle of an epoch,
// and divided among processes, with bad samples among them.
func TestSameBatches(t *testing.T) {
	for name, change := range map[string]func(o *data.LoaderOptions){
		"a permutation": func(*data.LoaderOptions) {},
		"resampled":     func(o *data.LoaderOptions) { o.Resampled, o.NumSamples = true, 130 },
		"shorter":       func(o *data.LoaderOptions) { o.NumSamples = 49 },
		"longer":        func(o *data.LoaderOptions) { o.NumSamples = 250 },
		"in order":      func(o *data.LoaderOptions) { o.Shuffle = false },
		"left out":      func(o *data.LoaderOptions) { o.SkipBad, o.DropLast = true, false },
		"cached":        func(o *data.LoaderOptions) { o.CacheSize = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			set := newNumbers(t, 101, 3, 4, 5, 40)
			o := reading(12, 1)
			change(&o)
			want := read(t, set, o, 3, 0)
			require.Greater(t, len(want), 3)
			images, texts, known := map[int64]int{}, map[int64]string{}, map[any]int64{} // by their IDs, and the IDs
			for _, b := range want {
				for i, s := range b.Samples {
					require.Equal(t, float32(s), b.Pixels[2*i])
					text := b.Texts[i][b.Captions[i]]
					require.Equal(t, fmt.Sprintf("%d in words %d", s, b.Captions[i]), text)
					images[b.ImageIDs[i]], texts[b.TextIDs[i]] = s, text
					known[s], known[text] = b.ImageIDs[i], b.TextIDs[i]
					require.Equal(t, int64('0'+b.Captions[i]), b.Tokens[2*i+1])
				}
			}
			for id, s := range images {
				require.Equal(t, id, known[s])
			}
			for id, text := range texts {
				require.Equal(t, id, known[text])
			}
			require.Len(t, known, len(images)+len(texts), "an ID for each image and each caption")
			for _, workers := range []int{2, 7, 40} {
				o.Workers = workers
				assert.Equal(t, want, read(t, set, o, 3, 0))
			}
			assert.Equal(t, want[2:], read(t, set, o, 3, 2))
			assert.NotEqual(t, want[0].Pixels, read(t, set, o, 4, 0)[0].Pixels)

			o.BatchSize, o.World = 4, 3
			shares := make([][]data.Batch, 3)
			for rank := range 3 {
				o.Rank = rank
				shares[rank] = read(t, set, o, 3, 0)
				require.Len(t, shares[rank], len(want))
			}
			for b := range want {
				var samples []int
				var pixels []float32
				var tokens []int64
				for rank := range 3 {
					samples, pixels, tokens = append(samples, shares[rank][b].Samples...), append(pixels, shares[rank][b].Pixels...), append(tokens, shares[rank][b].Tokens...)
				}
				assert.Equal(t, want[b].Samples, samples)
				assert.Equal(t, want[b].Pixels, pixels)
				assert.Equal(t, want[b].Tokens, tokens)
			}
		})
	}
}

// TestEpochs reads each image as often as any other, whatever the length of an epoch.
func TestEpochs(t *testing.T) {
	set := newNumbers(t, 30, 1)
	count := func(o data.LoaderOptions, epochs int) (times []int) {
		times = make([]int, 30)
		for epoch := range epochs {
			for _, b := range read(t, set, o, epoch, 0) {
				for _, s := range b.Samples {
					times[s]++
				}
			}
		}
		return times
	}
	for samples, epochs := range map[int]int{30: 2, 20: 3, 75: 2, 10: 6} {
		for _, shuffle := range []bool{true, false} {
			o := reading(5, 3)
			o.NumSamples, o.Shuffle = samples, shuffle
			assert.Equal(t, slices.Repeat([]int{samples * epochs / 30}, 30), count(o, epochs), "%d samples, %d epochs", samples, epochs)
		}
	}
	all := count(reading(30, 2), 1)
	assert.Equal(t, slices.Repeat([]int{1}, 30), all)
}

// TestUpsampling draws a source as often as its factor says: 4 standard deviations of a draw of
// 6,000.
func TestUpsampling(t *testing.T) {
	set := newNumbers(t, 30, 1)
	o := reading(100, 2)
	o.Resampled, o.NumSamples, o.Parts, o.UpsamplingFactors = true, 6000, []int{20, 5, 5}, []float64{1, 4, 0}
	times := make([]float64, 30)
	for _, b := range read(t, set, o, 0, 0) {
		for _, s := range b.Samples {
			times[s]++
		}
	}
	for i, n := range times {
		want := map[int]float64{0: 150, 1: 600, 2: 0}[max(0, i/5-3)]
		assert.InDelta(t, want, n, 4*max(1, 25), "sample %d", i)
	}
	o.UpsamplingFactors = nil
	for _, b := range read(t, set, o, 0, 0) {
		for _, s := range b.Samples {
			times[s]++
		}
	}
	assert.InDelta(t, 200, times[29], 60)

	for want, change := range map[string]func(o *data.LoaderOptions){
		"2 UpsamplingFactors for 3 sources":  func(o *data.LoaderOptions) { o.UpsamplingFactors = []float64{1, 2} },
		"leave no sample to draw":            func(o *data.LoaderOptions) { o.UpsamplingFactors = []float64{0, 0, 0} },
		"UpsamplingFactors need Resampled":   func(o *data.LoaderOptions) { o.UpsamplingFactors, o.Resampled = []float64{1, 2, 3}, false },
		"6000 samples make no batch of 7000": func(o *data.LoaderOptions) { o.BatchSize = 7000 },
		"6000 samples make no batch of 6300": func(o *data.LoaderOptions) { o.BatchSize, o.World = 2100, 3 },
		"rank 3: must be below 3":            func(o *data.LoaderOptions) { o.Rank, o.World = 3, 3 },
	} {
		wrong := o
		change(&wrong)
		_, err := data.NewLoader(set, &wrong)
		assert.ErrorContains(t, err, want)
	}
}

// TestDraws takes each caption about as often, and the first where none is drawn.
func TestDraws(t *testing.T) {
	set := newNumbers(t, 50, 5)
	o := reading(50, 2)
	times := make([]int, 5)
	for epoch := range 20 {
		for _, c := range read(t, set, o, epoch, 0)[0].Captions {
			times[c]++
		}
	}
	for _, n := range times {
		assert.InDelta(t, 200, n, 52)
	}
	one := read(t, newNumbers(t, 50, 1), o, 0, 0)
	assert.Equal(t, one[0].Pixels, read(t, set, o, 0, 0)[0].Pixels, "the captions do not move the augmentation")
	o.DrawCaption = false
	assert.Equal(t, make([]int, 50), read(t, set, o, 0, 0)[0].Captions)
}

// TestStopped ends an epoch from the loop's body, by its context and by an error, and leaves no
// worker behind.
func TestStopped(t *testing.T) {
	set := newNumbers(t, 101, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	o := reading(4, 3)
	o.Shuffle = false
	loader, err := data.NewLoader(set, &o)
	require.NoError(t, err)
	for _, err := range loader.Epoch(context.Background(), 0, 0) {
		assert.ErrorContains(t, err, "more than 10 samples cannot be read, the last one: number ")
	}
	loader, err = data.NewLoader(newNumbers(t, 101, 1), &o)
	require.NoError(t, err)
	for b := range loader.Epoch(context.Background(), 0, 0) {
		if b.Index == 3 {
			break
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	last := 0
	for b, err := range loader.Epoch(ctx, 0, 0) {
		if err != nil {
			assert.ErrorIs(t, err, context.Canceled)
			break
		}
		if last = b.Index; b.Index == 2 {
			cancel()
		}
	}
	assert.Equal(t, 2, last)
}

// TestTooLarge makes an image beyond the limit a bad sample.
func TestTooLarge(t *testing.T) {
	set := newNumbers(t, 20, 1)
	o := reading(4, 2)
	o.Limits.MaxPixels = 15
	loader, err := data.NewLoader(set, &o)
	require.NoError(t, err)
	for _, err := range loader.Epoch(context.Background(), 0, 0) {
		require.ErrorIs(t, err, preprocess.ErrTooLarge)
	}
	assert.ErrorContains(t, loader.Bad()[0].Err, "4x4 pixels is more than the limit of 15")
}
