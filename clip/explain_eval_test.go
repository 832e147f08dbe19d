//go:build searcheval

package clip

import (
	"bytes"
	"context"
	"image"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/emojis"
	"github.com/goclip/goclip/models"
)

// emoji is an image of the held-out style, 64 x 64 pixels, and its name.
type emoji struct {
	name    string
	picture image.Image
}

func heldOut(t *testing.T) (list []emoji) {
	t.Helper()
	all, err := emojis.HeldOut("../data")
	require.NoError(t, err)
	for _, e := range all {
		img, err := png.Decode(bytes.NewReader(e.PNG))
		require.NoError(t, err)
		list = append(list, emoji{e.Caption, img})
	}
	return list
}

// TestExplainEval composes images of emoji of the held-out style in a grid, names one of them, and
// counts how often the map's maximum lies in the cell of the one that was named.
func TestExplainEval(t *testing.T) {
	ctx := context.Background()
	m, err := OpenFS(ctx, models.FS(), models.Default, nil)
	require.NoError(t, err)
	all := heldOut(t)
	require.Len(t, all, 1914)
	for _, c := range []struct{ side, images int }{{2, 500}, {3, 100}} {
		right := map[ExplainMethod]int{}
		known := 0
		rng := rand.New(rand.NewPCG(1, uint64(c.side)))
		for range c.images {
			cells := rng.Perm(len(all))[:c.side*c.side]
			named := rng.IntN(len(cells))
			page := image.NewRGBA(image.Rect(0, 0, 64*c.side, 64*c.side))
			var alone []ImageSource
			for i, cell := range cells {
				at := image.Pt(i%c.side*64, i/c.side*64)
				draw.Draw(page, image.Rectangle{at, at.Add(image.Pt(64, 64))}, all[cell].picture, image.Point{}, draw.Src)
				alone = append(alone, FromImage(all[cell].picture))
			}
			text := all[cells[named]].name
			s, err := m.Score(ctx, alone, []string{text})
			require.NoError(t, err)
			best := 0
			for i := range s.Cosine {
				if s.Cosine[i][0] > s.Cosine[best][0] {
					best = i
				}
			}
			if best == named {
				known++
			}
			for _, how := range []ExplainMethod{ExplainWindows, ExplainValues, ExplainGradient} {
				e, err := m.Explain(ctx, FromImage(page), text, &ExplainOptions{Method: how})
				require.NoError(t, err)
				y, x := highest(e.Map)
				if y*c.side/len(e.Map)*c.side+x*c.side/len(e.Map[0]) == named {
					right[how]++
				}
			}
		}
		share := func(n int) float64 { return float64(n) / float64(c.images) }
		t.Logf("%d x %d emoji, %d images, chance %.2f: windows %.3f, values %.3f, gradient %.3f; the model, asked about each emoji by itself: %.3f",
			c.side, c.side, c.images, 1/float64(c.side*c.side), share(right[ExplainWindows]), share(right[ExplainValues]), share(right[ExplainGradient]), share(known))
		if c.side == 2 {
			assert.GreaterOrEqual(t, share(right[ExplainWindows]), 0.7)
		}
	}
}
