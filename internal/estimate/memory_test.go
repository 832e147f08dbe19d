package estimate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/golden"
	"github.com/goclip/goclip/torch/nn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTraffic(t *testing.T) {
	assert.Zero(t, TrafficOf(1, 32768, 512, 1e6))
	got := TrafficOf(4, 1000, 16, 5000)
	assert.Equal(t, Traffic{Features: 0.75 * 2 * 1000 * 16 * 4, LogSumExp: 0.75 * 2 * 1000 * 16, Gradients: 2 * 0.75 * 5000 * 4}, got)
	assert.Equal(t, got.Features+got.LogSumExp+got.Gradients, got.Total())
}

// TestMemory has the figures of a model that is counted by hand: one block of width 4 in each tower.
func TestMemory(t *testing.T) {
	c, err := tower.ParseConfig([]byte(`{"embed_dim":2,"vision_cfg":{"image_size":4,"patch_size":2,"layers":2,"width":4,"head_width":2},
		"text_cfg":{"context_length":3,"vocab_size":5,"width":4,"heads":1,"layers":2}}`))
	require.NoError(t, err)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	got := MemoryOf(m, Training{Batch: 6})
	assert.Equal(t, 4*float64(m.NumParameters()), got.Weights)
	assert.Equal(t, got.Weights, got.Gradients)
	assert.Equal(t, 2*got.Weights, got.Optimiser)
	assert.Zero(t, got.Casts)
	assert.Equal(t, 6*3*16*4.0, got.Images)
	assert.Equal(t, 6*4*2*4.0, got.Features)
	assert.Equal(t, 2*6*6*4.0, got.Loss)
	// Of each token, in numbers: 16 widths and 4 + heads of statistics in the first block, 4 widths in the pooled one, and
	// of an image's five the input of ln_pre.
	assert.Equal(t, 6*5*4*(16*4+6+4*4+4.0), got.ImageTower)
	assert.Equal(t, 6*3*4*(16*4+5+4*4.0), got.TextTower)

	half := MemoryOf(m, Training{Batch: 6, MicroBatch: 3})
	assert.Equal(t, got.ImageTower/2, half.ImageTower)
	assert.Equal(t, got.Images, half.Images)
	assert.Equal(t, got.TextTower*2/3, MemoryOf(m, Training{Batch: 6, Tokens: 2}).TextTower)
	assert.Less(t, MemoryOf(m, Training{Batch: 6, Checkpointing: true}).ImageTower, got.ImageTower/4)
	bf16 := MemoryOf(m, Training{Batch: 6, BFloat16: true})
	assert.Less(t, bf16.ImageTower, got.ImageTower)
	assert.Greater(t, bf16.Casts, 0.0)
	assert.Equal(t, 10*got.Features/4+2*got.Features/4, MemoryOf(m, Training{Batch: 6, World: 5}).Features)

	require.NoError(t, m.LockText(0, false))
	locked := MemoryOf(m, Training{Batch: 6})
	assert.Zero(t, locked.TextTower)
	assert.Equal(t, got.ImageTower, locked.ImageTower)
	assert.Less(t, locked.Gradients, got.Gradients)
}

// TestConvNeXtMemory counts by hand: 512, 256, 96 and 32 numbers in the four stages of 1, 1, 2 and
// 1 blocks.
func TestConvNeXtMemory(t *testing.T) {
	c := golden.Variants(t)["convnext"]
	c.Vision.ImageSize = tower.Square(32)
	m, err := clip.New(c, 1)
	require.NoError(t, err)
	kept, work := imageActivations(m, Training{})
	assert.Equal(t, 4.0*((512+256+32)*(2+12)+96*(2+2*12)), kept)
	assert.Equal(t, 4.0*512*10, work)
	kept, work = imageActivations(m, Training{Checkpointing: true})
	assert.Equal(t, 4.0*((512+256+32)*(2+1)+96*(2+2)), kept)
	assert.Equal(t, 4.0*512*(10+12), work)
	kept, work = imageActivations(m, Training{BFloat16: true})
	assert.Equal(t, (512.0+256+32)*(8+28)+96*(8+2*28), kept)
	assert.Equal(t, 512.0*24, work)
}

const scaleBegin, scaleEnd = "<!-- begin: the estimate's tables -->\n", "<!-- end -->\n"

// TestScalePage compares the tables of docs/internals/scale.md with the formulas. With GOCLIP_WRITE_DOCS set it writes them.
func TestScalePage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "internals", "scale.md")
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(page), scaleBegin)
	require.True(t, ok)
	had, after, ok := strings.Cut(rest, scaleEnd)
	require.True(t, ok)
	want := scaleTables(t)
	if os.Getenv("GOCLIP_WRITE_DOCS") != "" {
		require.NoError(t, os.WriteFile(path, []byte(before+scaleBegin+want+scaleEnd+after), 0o644))
		return
	}
	assert.Equal(t, want, had, "GOCLIP_WRITE_DOCS=1 go test ./internal/estimate -run TestScalePage rewrites the tables")
}

func scaleTables(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	gb := func(n float64) string { return fmt.Sprintf("%.1f", n/1e9) }
	for _, name := range []string{"ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14"} {
		c, err := tower.LookupConfig(name)
		require.NoError(t, err)
		m := &clip.Model{Visual: tower.Image(c), Text: tower.TextOf(c), LogitScale: nn.Parameter(), Config: c} // without numbers, which nobody reads
		fixed := MemoryOf(m, Training{Batch: 1})
		fmt.Fprintf(&b, "\n### %s\n\n%d parameters; weights, gradients and AdamW take %s GB. A pair costs %.1f GFLOP forward\nwith 77 tokens, %.1f with 24.\n\n",
			name, m.NumParameters(), gb(fixed.Weights+fixed.Gradients+fixed.Optimiser), (ImageFLOPs(c)+TextFLOPs(c, 77))/1e9, (ImageFLOPs(c)+TextFLOPs(c, 24))/1e9)
		b.WriteString("| batch | GPUs | pairs | GB at once | GB ckpt | GB micro | loss | features | LSE | gradients |\n|---|---|---|---|---|---|---|---|---|---|\n")
		for _, batch := range []int{32768, 65536} {
			for _, world := range []int{8, 64, 256, 1024} {
				k := batch / world
				whole := Training{Batch: k, World: world, BFloat16: true, Tile: 4096} // which the loss chooses on a GPU
				checkpointing, cached := whole, whole
				checkpointing.Checkpointing = true
				cached.MicroBatch = 256
				e, traffic := MemoryOf(m, whole), TrafficOf(world, batch, c.EmbedDim, m.NumParameters())
				fmt.Fprintf(&b, "| %d | %d | %d | %s | %s | %s | %s | %.0f MB | %.2f MB | %.2f GB |\n", batch, world, k, gb(e.Peak()), gb(MemoryOf(m, checkpointing).Peak()),
					gb(MemoryOf(m, cached).Peak()), fmt.Sprintf("%.2f", (e.Features+e.Loss)/1e9), traffic.Features/1e6, traffic.LogSumExp/1e6, traffic.Gradients/1e9)
			}
		}
	}
	return b.String() + "\n"
}
