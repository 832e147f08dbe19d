package clip

import (
	"bytes"
	"context"
	"errors"
	"image"
	_ "image/png"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

func shippedModel(t *testing.T) *Model {
	t.Helper()
	m, err := OpenFS(t.Context(), models.FS(), models.Default, nil)
	require.NoError(t, err)
	return m
}

func imagePath(name string) string {
	return filepath.Join("..", "testdata", "preprocess", "pictures", name)
}

// TestEncodeFromManyGoroutines gives 32 goroutines the same work: each has the bits that one alone has, and no tensor
// is left.
func TestEncodeFromManyGoroutines(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	paths := []string{imagePath("face.png"), imagePath("cat_lossy.webp"), imagePath("grey.gif")}
	texts := []string{"a face", "a cat", "a grey image of nothing in particular"}
	work := func() (rows, words [][]float32, predictions [][]Prediction, err error) {
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
		c, err := m.Classifier(ctx, texts, "{}", "a picture of {}")
		if err != nil {
			return
		}
		predictions, err = m.Classify(ctx, c, 2, sources...)
		return
	}
	rows, words, predictions, err := work()
	require.NoError(t, err)
	require.Len(t, rows, len(paths))
	require.Len(t, predictions, len(paths))
	before := settled.Count(torch.LiveTensors)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			r, w, g, err := work()
			assert.NoError(t, err)
			assert.Equal(t, rows, r)
			assert.Equal(t, words, w)
			assert.Equal(t, predictions, g)
		})
	}
	wg.Wait()
	assert.Equal(t, before, torch.LiveTensors())

	t.Run("as on the calling thread", func(t *testing.T) {
		transform, err := m.Transform()
		require.NoError(t, err)
		pixels := make([]float32, len(paths)*transform.Len())
		for i, path := range paths {
			require.NoError(t, transform.File(t.Context(), pixels[i*transform.Len():(i+1)*transform.Len()], path))
		}
		want, err := m.ImageFeatures(pixels, len(paths))
		require.NoError(t, err)
		assert.Equal(t, m.rowsOf(want), rows)
		ids, _, err := m.Tokenize(t.Context(), texts...)
		require.NoError(t, err)
		want, err = m.TextFeatures(ids, len(texts))
		require.NoError(t, err)
		assert.Equal(t, m.rowsOf(want), words)
	})
}

// TestImageSources reads one image in every way, and in a number that makes several batches.
func TestImageSources(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	path := imagePath("rgb_63x64.png")
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
	require.Len(t, rows, len(many))
	for i := range many {
		assert.LessOrEqual(t, worst(want[0], rows[i], 1), 1e-5, i)
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
	before := settled.Count(torch.LiveTensors)
	good := FromFile(imagePath("face.png"))
	broken := errors.New("the line is dead")
	for says, c := range map[string]struct {
		bad  ImageSource
		kind error
	}{
		"gone.png: no such file":    {FromFile(filepath.Join(t.TempDir(), "gone.png")), fs.ErrNotExist},
		"the file is text":          {FromBytes([]byte("not an image at all")), preprocess.ErrNotImage},
		"the file is empty":         {FromReader(bytes.NewReader(nil)), preprocess.ErrEmpty},
		"could not be read: the li": {FromReader(iotest.ErrReader(broken)), broken},
		"no image was given":        {FromImage(nil), preprocess.ErrEmpty},
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
	assert.Equal(t, before, torch.LiveTensors())
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

// TestEncodeSequences streams more images than there are batches in memory, of which some cannot be read: rows come in
// order, with the bits of EncodeImages, and errors in their places.
func TestEncodeSequences(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	names := []string{"face.png", "cat_lossy.webp", "grey.gif"}
	var want [][]float32
	for _, name := range names {
		row, err := m.EncodeImages(ctx, FromFile(imagePath(name)))
		require.NoError(t, err)
		want = append(want, row[0])
	}
	const n = 61
	sources := func(yield func(ImageSource) bool) {
		for i := range n {
			source := FromFile(imagePath(names[i%3]))
			if i%7 == 5 {
				source = FromBytes([]byte("no image"))
			}
			if !yield(source) {
				return
			}
		}
	}
	before := settled.Count(torch.LiveTensors)
	for _, size := range []int{1, 4, 8, 64} {
		i := 0
		for row, err := range (Encoder{Model: m, BatchSize: size}).Images(ctx, sources) {
			if i%7 == 5 {
				bad := new(ImageError)
				require.ErrorAs(t, err, &bad)
				assert.Equal(t, i, bad.Index)
				assert.ErrorIs(t, err, preprocess.ErrNotImage)
			} else {
				require.NoError(t, err)
				assert.LessOrEqual(t, worst(want[i%3], row, 1), 1e-5, i)
			}
			i++
		}
		assert.Equal(t, n, i)
	}
	i := 0
	for range m.EncodeImageSeq(ctx, sources) {
		if i++; i == 3 {
			break
		}
	}
	ended, end := context.WithCancel(ctx)
	defer end()
	i = 0
	for _, err := range m.EncodeImageSeq(ended, sources) {
		if i++; err != nil && !errors.As(err, new(*ImageError)) {
			assert.ErrorIs(t, err, context.Canceled)
			break
		}
		end()
	}
	assert.Less(t, i, n)
	raw := 0
	for row, err := range (Encoder{Model: m, Raw: true}).Texts(ctx, slices.Values([]string{"a face", "a cat"})) {
		require.NoError(t, err)
		norm := 0.0
		for _, x := range row {
			norm += float64(x) * float64(x)
		}
		assert.Greater(t, math.Abs(norm-1), 1e-3, "not normalised")
		raw++
	}
	assert.Equal(t, 2, raw)
	assert.Equal(t, before, torch.LiveTensors())
}

func TestScore(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	texts := []string{"a cute dog", "a fast car"}
	images := []ImageSource{FromFile("../data/demo/dog.png"), FromFile("../data/demo/racing_car.png")}
	s, err := m.Score(ctx, images, texts)
	require.NoError(t, err)
	rows, err := m.EncodeImages(ctx, images...)
	require.NoError(t, err)
	words, err := m.EncodeTexts(ctx, texts...)
	require.NoError(t, err)
	scale, err := m.Scale()
	require.NoError(t, err)
	assert.Equal(t, scale, s.LogitScale)
	for i := range images {
		for j := range texts {
			assert.Equal(t, Cosine(rows[i], words[j]), s.Cosine[i][j])
		}
		assert.InDelta(t, 1, s.Prob[i][0]+s.Prob[i][1], 1e-12)
		assert.Greater(t, s.Prob[i][i], 0.8)
	}
	_, err = m.Score(ctx, images, nil)
	assert.ErrorContains(t, err, "at least one text")
	_, err = m.Score(ctx, []ImageSource{FromFile("gone.png")}, texts)
	assert.ErrorAs(t, err, new(*ImageError))
}

// TestEncoderTells is told of each image's size and of each text that is cut, before their rows.
func TestEncoderTells(t *testing.T) {
	m, ctx := shippedModel(t), t.Context()
	sizes, rows := map[int][2]int{}, 0
	e := Encoder{Model: m, BatchSize: 2, Sized: func(i, width, height int) {
		assert.Equal(t, rows, i)
		sizes[i] = [2]int{width, height}
	}}
	images := []ImageSource{FromFile(imagePath("rgb_129x200.png")), FromBytes([]byte("no image")), FromFile(imagePath("rgb_63x64.png"))}
	for _, err := range e.Images(ctx, slices.Values(images)) {
		assert.Equal(t, rows == 1, err != nil)
		rows++
	}
	assert.Equal(t, 3, rows)
	assert.Equal(t, map[int][2]int{0: {129, 200}, 2: {63, 64}}, sizes)

	long := strings.Repeat("a long text ", 50)
	cut := map[int]string{}
	e.Cut = func(i int, text string) { cut[i] = text }
	for _, err := range e.Texts(ctx, slices.Values([]string{"a", "b", "c", long})) {
		require.NoError(t, err)
	}
	assert.Equal(t, map[int]string{3: long}, cut)
}
