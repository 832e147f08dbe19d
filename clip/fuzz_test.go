package clip

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/campaign"
	"github.com/stretchr/testify/require"
)

// FuzzConfigs gives any bytes to both readers of a model's config: what they accept has sizes that a model can have.
func FuzzConfigs(of *testing.F) {
	f := campaign.Inputs(of, 16<<20)
	for _, name := range []string{"ViT-B-32", "RN50", "ViT-B-16-SigLIP", "roberta-ViT-B-32", "ViT-L-14-CLIPA", "convnext_base", "EVA02-B-16", "PE-Core-B-16"} {
		text, err := os.ReadFile(filepath.Join("tower", "configs", name+".json"))
		require.NoError(f, err)
		f.Add(text)
	}
	for _, name := range hfModels {
		text, err := os.ReadFile(filepath.Join(hfDirectory(name), "config.json"))
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, read := range []func([]byte) (*tower.Config, error){tower.ParseConfig, tower.ParseHuggingFace} {
			c, err := read(text)
			if err != nil {
				require.NotEmpty(t, err.Error())
				continue
			}
			rows, columns := 1, 1
			if !c.Vision.IsResNet() {
				rows, columns = c.Vision.Grid()
			}
			require.Positive(t, rows*columns)
			require.Positive(t, c.Vision.Width*c.Text.Width*c.EmbedDim*c.Text.ContextLength)
			if _, err := c.HuggingFace("float32"); err != nil {
				require.NotEmpty(t, err.Error())
			}
			_ = sizesOf(c)
		}
	})
}
