package data_test

import (
	"context"
	"regexp"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/train/data"
)

// broken is a Dataset whose sample 70 does what a program should not.
type broken struct {
	*numbers
	sample func() (data.Sample, error)
}

func (b broken) Sample(ctx context.Context, i int) (data.Sample, error) {
	if i == 70 {
		return b.sample()
	}
	return b.numbers.Sample(ctx, i)
}

// TestBrokenDatasets: a Dataset's own fault ends the epoch with a sentence. It neither ends the process nor leaves a batch
// waiting, and is not taken for an image that cannot be read.
func TestBrokenDatasets(t *testing.T) {
	for says, f := range map[string]func() (data.Sample, error){
		"data: the Dataset's Sample(70) panicked at broken_test.go:NN: no more film": func() (data.Sample, error) {
			panic("no more film")
		},
		"data: the Dataset's Sample(70) panicked at broken_test.go:NN: assignment to entry in nil map": func() (data.Sample, error) {
			var seen map[int]bool
			seen[70] = true //lint:ignore SA5000 the panic is what is tested
			return data.Sample{}, nil
		},
		"data: the Dataset's Sample(70) ended its goroutine (runtime.Goexit) instead of returning": func() (data.Sample, error) {
			runtime.Goexit()
			return data.Sample{}, nil
		},
	} {
		o := reading(8, 3)
		l, err := data.NewLoader(broken{newNumbers(t, 80, 1), f}, &o)
		require.NoError(t, err)
		var last error
		for _, last = range l.Epoch(t.Context(), 0, 0) {
		}
		require.Error(t, last)
		assert.Equal(t, says, line.ReplaceAllString(last.Error(), "go:NN"))
		assert.Empty(t, l.Bad())
		_, err = data.Fingerprint(t.Context(), broken{newNumbers(t, 71, 1), f}) // which asks for 64 of them, 70 not among them
		require.NoError(t, err)
		_, err = data.Fingerprint(t.Context(), broken{newNumbers(t, 128, 1), f}) // each second one
		require.Error(t, err)
		assert.Equal(t, says, line.ReplaceAllString(err.Error(), "go:NN"))
	}
	o := reading(8, 3)
	_, err := data.NewLoader(nil, &o)
	assert.EqualError(t, err, "data: the Dataset is nil")
	for _, n := range []int{-1, 1 << 40} {
		_, err = data.NewLoader(long(n), &o)
		assert.ErrorContains(t, err, "must be between 0 and 4294967295")
	}
}

var line = regexp.MustCompile(`go:\d+`)

type long int

func (n long) Len() int                                       { return int(n) }
func (long) Sample(context.Context, int) (data.Sample, error) { return data.Sample{}, nil }
