package clip

import (
	"bytes"
	"context"
	"image"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/torch"
)

// TestNotFinite spoils one weight: whatever needs it fails with its name, and what does not continues.
func TestNotFinite(t *testing.T) {
	image := FromFile(imagePath("face.png"))
	for _, c := range []struct {
		key           string
		value         float64
		images, texts bool // fail
	}{
		{"visual.proj", math.NaN(), true, false},
		{"visual.conv1.weight", math.Inf(1), true, false},
		{"text_projection", math.NaN(), false, true},
		{"ln_final.bias", math.Inf(-1), false, true},
		{"logit_scale", math.Inf(1), false, false},
	} {
		m := shippedModel(t)
		require.NoError(t, m.CheckFinite())
		for key, p := range m.Parameters() {
			if key == c.key {
				require.NoError(t, torch.NoGrad(func(s *torch.Scope) { s.Alias(p).Fill(c.value) }))
			}
		}
		check := func(fails bool, err error) {
			t.Helper()
			if !fails {
				require.NoError(t, err, c.key)
				return
			}
			require.ErrorIs(t, err, ErrNotFinite, c.key)
			assert.ErrorContains(t, err, "the tensor "+c.key+" holds NaN or infinite numbers")
		}
		_, err := m.EncodeImages(t.Context(), image)
		check(c.images, err)
		_, err = m.EncodeTexts(t.Context(), "a face")
		check(c.texts, err)
		_, err = m.Scale()
		check(c.key == "logit_scale", err)
		check(true, m.CheckFinite())
	}
}

// TestOrient encodes a JPEG that says it lies on its side.
func TestOrient(t *testing.T) {
	jpeg, err := os.ReadFile(imagePath("face_420.jpg"))
	require.NoError(t, err)
	exif := append([]byte("Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"), 0, 0, 0, 0)
	file := slices.Concat(jpeg[:2], []byte{0xff, 0xe1, 0, byte(len(exif) + 2)}, exif, jpeg[2:])
	upright, err := preprocess.Decode(t.Context(), file, preprocess.Limits{Orient: true})
	require.NoError(t, err)
	require.Equal(t, [2]int{260, 320}, [2]int{upright.Width, upright.Height})
	turned := image.NewNRGBA(image.Rect(0, 0, upright.Width, upright.Height))
	for i := range upright.Width * upright.Height {
		copy(turned.Pix[4*i:], append(bytes.Clone(upright.Pix[3*i:3*i+3]), 255))
	}
	m := shippedModel(t)
	row := func(ctx context.Context, orient bool, s ImageSource) (row []float32) {
		for r, err := range (Encoder{Model: m, Orient: orient}).Images(ctx, slices.Values([]ImageSource{s})) {
			require.NoError(t, err)
			row = r
		}
		return row
	}
	lying, standing := row(t.Context(), false, FromBytes(file)), row(t.Context(), true, FromBytes(file))
	assert.Equal(t, row(t.Context(), false, FromBytes(jpeg)), lying, "without Orient the data is passed over, as open_clip does")
	assert.InDelta(t, 1, Cosine(row(t.Context(), false, FromImage(turned)), standing), 1e-5)
	assert.Less(t, Cosine(lying, standing), 0.99)
}
