//go:build cgo && !nojpegturbo

package preprocess

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestScaledJPEGIsPillowsDraft(t *testing.T) {
	g := loadGoldens(t)
	require.Len(t, g.Drafts, 3)
	for _, d := range g.Drafts {
		t.Run(fmt.Sprint(d.Scale), func(t *testing.T) {
			img, err := DecodeFile(filepath.Join(goldenDir, "pictures", d.File), Limits{JPEGScale: d.Scale})
			require.NoError(t, err)
			assert.Equal(t, d.Size, [2]int{img.Height, img.Width})
			most, equal, _ := difference(g.rgb(d.goldenRGB), img.Pix)
			assert.Zero(t, most, "largest difference; equal share %v", equal)
		})
	}
	_, err := DecodeFile(filepath.Join(goldenDir, "pictures", "face_420.jpg"), Limits{JPEGScale: 3})
	require.ErrorIs(t, err, ErrUnsupported)
}
