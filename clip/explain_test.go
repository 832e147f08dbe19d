package clip

import (
	"context"
	"image"
	"image/color"
	"image/draw"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

// TestExplainGoldens holds the maps of every kind of image tower against those that the Python
// libraries' modules give (testdata/clip/make_explain.py).
func TestExplainGoldens(t *testing.T) {
	g, configs := golden.Open(t, "explain"), golden.Variants(t)
	require.Len(t, g.Names(), 32)
	for _, name := range g.Names() {
		t.Run(name, func(t *testing.T) {
			variant, how, _ := strings.Cut(name, "/")
			method, err := ParseExplainMethod(how)
			require.NoError(t, err)
			m := goldenModel(t, configs[variant])
			before := settled.Count(torch.LiveTensors)
			var pixels []float32
			require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
				pixels = torch.ToSlice[float32](golden.Pixels(s, "pixels", m.Config).Narrow(0, 0, 1).Contiguous())
			}))
			sum := make([]float64, m.Dim())
			for i, x := range golden.Weight("explained", []int{m.Dim()}) {
				sum[i] = float64(x)
			}
			var e Explanation
			require.NoError(t, m.explainByTower(&e, pixels, Normalized(sum), method))
			var got []float32
			for _, row := range e.Map {
				assert.Len(t, row, len(e.Map[0]))
				for _, x := range row {
					got = append(got, float32(x))
				}
			}
			want := g.Floats(name)
			require.Len(t, got, len(want))
			assert.LessOrEqual(t, worst(want, got, largest(want)), 10*tolerance)
			assert.Equal(t, before, torch.LiveTensors())
		})
	}
}

// sideBySide is an image of 128 x 64 pixels whose left and right halves are the images.
func sideBySide(left, right image.Image) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, 128, 64))
	draw.Draw(out, image.Rect(0, 0, 64, 64), left, image.Point{}, draw.Src)
	draw.Draw(out, image.Rect(64, 0, 128, 64), right, image.Point{}, draw.Src)
	return out
}

func TestExplain(t *testing.T) {
	ctx := context.Background()
	m, err := OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	white := image.NewUniform(color.White)
	for _, method := range []ExplainMethod{ExplainWindows, ExplainValues, ExplainGradient} {
		e, err := m.Explain(ctx, FromImage(sideBySide(white, white)), "a dog", &ExplainOptions{Method: method})
		require.NoError(t, err)
		assert.Equal(t, [2]int{128, 64}, e.Size)
		assert.Equal(t, [4]float64{32, 0, 96, 64}, e.Region, "the middle square")
		side := map[ExplainMethod]int{ExplainWindows: windowGrid, ExplainValues: 8, ExplainGradient: 8}[method]
		require.Len(t, e.Map, side)
		require.Len(t, e.Map[0], side)
		row, err := m.EncodeImages(ctx, FromImage(sideBySide(white, white)))
		require.NoError(t, err)
		text, err := m.EncodeTexts(ctx, "a dog")
		require.NoError(t, err)
		assert.InDelta(t, Cosine(row[0], text[0]), e.Cosine, 1e-5, method)
	}
}

// TestExplainFinds puts a dog into each corner of a white page.
func TestExplainFinds(t *testing.T) {
	ctx := context.Background()
	m, err := OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	dog, err := FromFile("../data/demo/dog.png").Decode(ctx, preprocess.DefaultLimits)
	require.NoError(t, err)
	for corner := range 4 {
		page := image.NewRGBA(image.Rect(0, 0, 512, 512))
		draw.Draw(page, page.Rect, image.White, image.Point{}, draw.Src)
		at := image.Pt(corner%2*256, corner/2*256)
		draw.Draw(page, image.Rectangle{at, at.Add(image.Pt(256, 256))}, goImage(dog), image.Point{}, draw.Src)
		e, err := m.Explain(ctx, FromImage(page), "a dog", nil)
		require.NoError(t, err)
		y, x := highest(e.Map)
		assert.Equal(t, corner, y/(windowGrid/2)*2+x/(windowGrid/2), "the maximum is at %d, %d", x, y)
	}
}

func highest(m [][]float64) (y, x int) {
	for i, row := range m {
		if j := slices.Index(row, slices.Max(row)); row[j] > m[y][x] {
			y, x = i, j
		}
	}
	return y, x
}

func TestExplainErrors(t *testing.T) {
	ctx := context.Background()
	_, err := ParseExplainMethod("magic")
	assert.EqualError(t, err, `clip: "magic" is not a way to explain: it must be windows, values or gradient`)
	m, err := OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	white := FromImage(image.White)
	_, err = m.Explain(ctx, white, "x", &ExplainOptions{Method: 7})
	assert.ErrorContains(t, err, "ExplainMethod(7)")
	_, err = m.Explain(ctx, FromFile("/nowhere.png"), "x", nil)
	assert.ErrorContains(t, err, "/nowhere.png")
	m.Visual = bare{m.Visual}
	_, err = m.Explain(ctx, FromFile("../data/demo/dog.png"), "x", &ExplainOptions{Method: ExplainValues})
	assert.ErrorIs(t, err, ErrUnsupported)
	assert.ErrorContains(t, err, "cannot explain by values; windows work with any")
	_, err = m.Explain(ctx, FromFile("../data/demo/dog.png"), "x", nil)
	assert.NoError(t, err)
}

// bare is a tower that offers nothing beyond Forward.
type bare struct {
	Tower tower.Tower `torch:""`
}

func (b bare) Forward(x *torch.Tensor) *torch.Tensor { return b.Tower.Forward(x) }
