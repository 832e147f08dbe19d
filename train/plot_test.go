package train

import (
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/plotter"

	"github.com/goclip/goclip/internal/disk"
)

// TestCurve smooths without a lag: each mean stands in the middle of its steps, and there is none
// where steps are missing.
func TestCurve(t *testing.T) {
	var c curve
	for i := range 7 {
		c.add(Step{Step: i + 1, Loss: float64(i * i), LR: 1e-3})
	}
	assert.Equal(t, 3, c.window())
	assert.Equal(t, plotter.XYs{{X: 2, Y: 5. / 3}, {X: 3, Y: 14. / 3}, {X: 4, Y: 29. / 3}, {X: 5, Y: 50. / 3}, {X: 6, Y: 77. / 3}}, c.mean())
	c.evaluated(Metrics{"step": 4, "clip_val_loss": 2})
	c.evaluated(Metrics{"step": 7, "clip_val_loss": 9, "wise_ft": 0.5})
	c.evaluated(Metrics{"step": 7, "zeroshot-val-top1": 1})
	assert.Equal(t, plotter.XYs{{X: 4, Y: 2}}, c.validation)
	assert.Nil(t, c.level(0))

	path := filepath.Join(t.TempDir(), "loss.png")
	require.NoError(t, c.draw(disk.Machine{}, path, 3))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	seen := map[[3]uint32]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 8, g >> 8, b >> 8}]++
		}
	}
	for _, colour := range [][3]uint32{{160, 190, 230}, {20, 80, 170}, {210, 100, 20}} {
		assert.Greater(t, seen[colour], 20, colour)
	}
	for range 200 {
		c.add(Step{Step: len(c.losses) + 1})
	}
	assert.Equal(t, 5, c.window())
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0:00:00", 90 * time.Second: "0:01:30", 23*time.Hour + 59*time.Second: "23:00:59", 76*time.Hour + 5*time.Minute: "3d 04:05"} {
		assert.Equal(t, want, clock(d))
	}
}

// TestThin: what is drawn of many steps is bounded, in order, and has the outliers.
func TestThin(t *testing.T) {
	var points plotter.XYs
	for i := range 100_000 {
		points = append(points, plotter.XY{X: float64(i), Y: float64(i % 7)})
	}
	points[41_234].Y, points[77_777].Y = 100, -100
	thinned := thin(points)
	assert.LessOrEqual(t, len(thinned), 2*columns)
	assert.Contains(t, thinned, points[41_234])
	assert.Contains(t, thinned, points[77_777])
	for i := range thinned[1:] {
		assert.Less(t, thinned[i].X, thinned[i+1].X)
	}
	few := points[:2*columns]
	assert.Equal(t, few, thin(few))
}

// TestPieces: all points are drawn, in short paths that meet.
func TestPieces(t *testing.T) {
	for _, n := range []int{1, 2, piece, piece + 1, piece + 2, 2*piece + 1, 1000} {
		points := make(plotter.XYs, n)
		for i := range points {
			points[i].X = float64(i)
		}
		var joined plotter.XYs
		for i, part := range pieces(points) {
			assert.LessOrEqual(t, len(part), piece+1)
			if i > 0 {
				require.Greater(t, len(part), 1)
				assert.Equal(t, joined[len(joined)-1], part[0])
				part = part[1:]
			}
			joined = append(joined, part...)
		}
		assert.Equal(t, points, joined)
	}
}
