package clip

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

func shippedModel(t *testing.T) *Model {
	t.Helper()
	m, err := OpenFS(models.FS(), models.Default)
	require.NoError(t, err)
	return m
}

func picturePath(name string) string {
	return filepath.Join("..", "testdata", "preprocess", "pictures", name)
}

// TestEncodeFromManyGoroutines gives 32 goroutines the same work: each has the bits that one alone has, and no tensor
// is left.
func TestEncodeFromManyGoroutines(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	paths := []string{picturePath("face.png"), picturePath("cat_lossy.webp"), picturePath("grey.gif")}
	texts := []string{"a face", "a cat", "a grey picture of nothing in particular"}
	work := func() (rows, words []float32, guesses [][]Guess, err error) {
		sources := make([]ImageSource, len(paths))
		for i, path := range paths {
			sources[i] = FromFile(path)
		}
		if rows, err = m.EncodeImages(ctx, sources...); err != nil {
			return
		}
		if words, err = m.EncodeTexts(ctx, texts...); err != nil {
			return
		}
		c, err := m.Classifier(ctx, texts, []string{"{}", "a picture of {}"})
		if err != nil {
			return
		}
		guesses, err = m.Classify(ctx, c, 2, sources...)
		return
	}
	rows, words, guesses, err := work()
	require.NoError(t, err)
	require.Len(t, rows, len(paths)*m.Config.EmbedDim)
	require.Len(t, guesses, len(paths))
	before := torch.LiveTensors()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			r, w, g, err := work()
			assert.NoError(t, err)
			assert.Equal(t, rows, r)
			assert.Equal(t, words, w)
			assert.Equal(t, guesses, g)
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, torch.LiveTensors(), before)

	t.Run("as on the calling thread", func(t *testing.T) {
		transform, err := m.Transform()
		require.NoError(t, err)
		pixels := make([]float32, len(paths)*transform.Len())
		for i, path := range paths {
			require.NoError(t, transform.File(pixels[i*transform.Len():(i+1)*transform.Len()], path))
		}
		want, err := m.ImageFeatures(pixels, len(paths))
		require.NoError(t, err)
		assert.Equal(t, want, rows)
		ids, _, err := m.Tokenize(texts...)
		require.NoError(t, err)
		want, err = m.TextFeatures(ids, len(texts))
		require.NoError(t, err)
		assert.Equal(t, want, words)
	})
}

// TestImageSources reads one picture in every way, and in a number that makes several batches.
func TestImageSources(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	path := picturePath("rgb_63x64.png")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	img, _, err := image.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	want, err := m.EncodeImages(ctx, FromFile(path))
	require.NoError(t, err)
	for name, source := range map[string]ImageSource{"bytes": FromBytes(data), "reader": FromReader(iotest.HalfReader(bytes.NewReader(data))), "image": FromImage(img)} {
		got, err := m.EncodeImages(ctx, source)
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
	many := make([]ImageSource, 2*batchOfImages+3)
	for i := range many {
		many[i] = FromBytes(data)
	}
	rows, err := m.EncodeImages(ctx, many...)
	require.NoError(t, err)
	require.Len(t, rows, len(many)*len(want))
	for i := range many {
		assert.LessOrEqual(t, worst(want, rows[i*len(want):(i+1)*len(want)], 1), 1e-5, i)
	}
	none, err := m.EncodeImages(ctx)
	require.NoError(t, err)
	assert.Empty(t, none)
	none, err = m.EncodeTexts(ctx)
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestImageErrors(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	before := torch.LiveTensors()
	good := FromFile(picturePath("face.png"))
	broken := errors.New("the line is dead")
	for says, c := range map[string]struct {
		bad  ImageSource
		kind error
	}{
		"gone.png: no such file":    {FromFile(filepath.Join(t.TempDir(), "gone.png")), fs.ErrNotExist},
		"the file is text":          {FromBytes([]byte("not a picture at all")), preprocess.ErrNotPicture},
		"the file is empty":         {FromReader(bytes.NewReader(nil)), preprocess.ErrEmpty},
		"could not be read: the li": {FromReader(iotest.ErrReader(broken)), broken},
		"no picture was given":      {FromImage(nil), preprocess.ErrEmpty},
	} {
		for _, at := range []int{2, batchOfImages + 1} {
			sources := make([]ImageSource, batchOfImages+3)
			for i := range sources {
				sources[i] = good
			}
			sources[at], sources[batchOfImages+2] = c.bad, c.bad
			rows, err := m.EncodeImages(ctx, sources...)
			assert.Nil(t, rows)
			bad := new(ImageError)
			require.ErrorAs(t, err, &bad)
			assert.Equal(t, at, bad.Index)
			assert.ErrorContains(t, err, says)
			assert.ErrorIs(t, err, c.kind)
		}
		_, err := m.EncodeImages(ctx, c.bad)
		assert.ErrorAs(t, err, new(*ImageError))
	}
	assert.LessOrEqual(t, torch.LiveTensors(), before)
}

// TestEncodeWaits holds the model: a caller in the queue leaves it when its context ends, and the next one has
// its turn.
func TestEncodeWaits(t *testing.T) {
	m := shippedModel(t)
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		assert.NoError(t, m.inTurn(context.Background(), func() error {
			close(held)
			<-hold
			return nil
		}))
	})
	<-held
	ctx, end := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := m.EncodeTexts(ctx, "a dog")
		left <- err
	}()
	end()
	assert.ErrorIs(t, <-left, context.Canceled)
	_, err := m.EncodeImages(ctx, FromReader(iotest.ErrReader(io.ErrUnexpectedEOF)))
	assert.ErrorIs(t, err, context.Canceled)
	close(hold)
	wg.Wait()
	_, err = m.EncodeTexts(context.Background(), "a dog")
	assert.NoError(t, err)

	assert.PanicsWithValue(t, "as the caller's", func() {
		_ = m.inTurn(context.Background(), func() error { panic("as the caller's") })
	})
	_, err = m.EncodeTexts(context.Background(), "a dog")
	assert.NoError(t, err, "the next one has its turn after a panic")
}
