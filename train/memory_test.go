//go:build memory

package train

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/estimate"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/optim"
	"github.com/goclip/goclip/train/data"
)

// measured is a step whose memory is measured, in a process of its own.
type measured struct {
	Model        string
	Batch, Micro int
	Tokens       int
	Precision    string
	How          string // "locked": the image tower; "checkpointing"; or ""
}

const asMeasured = "GOCLIP_MEMORY_STEP"

// TestMemory holds the estimate against the memory of real steps, two of them on a CPU: what they
// use, which glibc shows when it gives every freed tensor back to the system at once, and what
// stays resident by its default, which keeps freed tensors of up to 32 MiB in a heap with gaps.
// docs/internals/scale.md has the table.
func TestMemory(t *testing.T) {
	if text := os.Getenv(asMeasured); text != "" {
		var m measured
		require.NoError(t, json.Unmarshal([]byte(text), &m))
		m.run(t)
		return
	}
	fmt.Println("| model | batch | micro-batch | tokens | precision | estimate | used | ratio | resident |\n|---|---|---|---|---|---|---|---|---|")
	for _, m := range []measured{
		{"emoji-64", 256, 256, 17, "fp32", ""},
		{"ViT-S-32-alt", 64, 64, 77, "fp32", ""},
		{"ViT-S-32-alt", 64, 64, 16, "fp32", ""},
		{"ViT-S-32-alt", 64, 8, 77, "fp32", ""},
		{"ViT-S-32-alt", 64, 64, 77, "amp_bf16", ""},
		{"ViT-B-32", 16, 16, 77, "fp32", ""},
		{"ViT-B-32", 32, 32, 77, "fp32", ""},
		{"ViT-B-32", 32, 8, 77, "fp32", ""},
		{"ViT-B-32", 16, 16, 77, "amp_bf16", ""},
		{"ViT-B-32", 16, 16, 77, "fp32", "locked"},
		{"ViT-S-32-alt", 64, 64, 77, "fp32", "checkpointing"},
		{"ViT-B-32", 32, 32, 77, "fp32", "checkpointing"},
		{"ViT-B-32-quickgelu", 16, 16, 77, "fp32", ""},
		{"ViT-B-16", 8, 8, 77, "fp32", ""},
		{"RN50", 8, 8, 77, "fp32", ""},
		{"roberta-ViT-B-32", 8, 8, 77, "fp32", ""},
		{"ViT-B-16-SigLIP", 8, 8, 64, "fp32", ""},
		{"ViT-L-14", 2, 2, 77, "fp32", ""},
	} {
		t.Run(fmt.Sprintf("%s %d %d %s %s", m.Model, m.Batch, m.Micro, m.Precision, m.How), func(t *testing.T) {
			text, err := json.Marshal(m)
			require.NoError(t, err)
			var estimate, used, resident float64
			for _, run := range []struct {
				into *float64
				env  []string
			}{{&used, []string{"MALLOC_MMAP_THRESHOLD_=65536"}}, {&resident, nil}} {
				cmd := exec.Command(os.Args[0], "-test.run", "^TestMemory$", "-test.v")
				cmd.Env = append(append(os.Environ(), asMeasured+"="+string(text)), run.env...)
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, string(out))
				_, after, _ := strings.Cut(string(out), "MEMORY ")
				_, err = fmt.Sscan(after, &estimate, run.into)
				require.NoError(t, err, string(out))
			}
			micro := fmt.Sprint(m.Micro)
			switch m.How {
			case "locked":
				micro += ", image tower locked"
			case "checkpointing":
				micro += ", checkpointing"
			}
			fmt.Printf("| %s | %d | %s | %d | %s | %.0f MB | %.0f MB | %.2f | %.0f MB |\n", m.Model, m.Batch, micro, m.Tokens, m.Precision, estimate/1e6, used/1e6, estimate/used, resident/1e6)
			assert.InDelta(t, 1, estimate/used, 0.2)
		})
	}
}

// run prints the estimate and the most that became resident over what libtorch and Go had before
// the model.
func (m measured) run(t *testing.T) {
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		torch.Randn(s, torch.CPU, 64, 64).MatMul(torch.Randn(s, torch.CPU, 64, 64)).Sum().Item()
	}))
	base := status(t, "VmRSS")
	c, err := tower.LookupConfig(m.Model)
	require.NoError(t, err)
	model, err := clip.New(c, 1)
	require.NoError(t, err)
	if m.How == "locked" {
		require.NoError(t, model.LockImage(0, true))
	}
	if m.How == "checkpointing" {
		require.NoError(t, model.SetGradCheckpointing(true))
	}
	r := single(t, model)
	r.precision = choosePrecision(m.Precision, torch.CPU)
	r.optimiser = optim.NewAdamW(parameterGroups(model, 0.2), optim.AdamWOptions{LR: 1e-4, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6})
	model.SetTraining(true)
	for range 2 {
		var micros []*micro
		for range m.Batch / m.Micro {
			made, err := r.micro(m.batch(r))
			require.NoError(t, err)
			micros = append(micros, made)
		}
		_, err := r.step(micros, common{n: m.Batch})
		require.NoError(t, err)
		r.optimiser.ZeroGrad()
		for _, m := range micros {
			m.free()
		}
	}
	estimate := estimate.MemoryOf(model, estimate.Training{Batch: m.Batch, MicroBatch: m.Micro, Tokens: m.Tokens, BFloat16: m.Precision != "fp32",
		Checkpointing: m.How == "checkpointing"})
	fmt.Printf("MEMORY %.0f %.0f\n%+v\n", estimate.Peak(), status(t, "VmHWM")-base, estimate)
}

func (m measured) batch(r *stepper) *data.Batch {
	size, length := r.model.Config.Vision.ImageSize, r.model.ContextLength()
	b := &data.Batch{N: m.Micro, Pixels: make([]float32, m.Micro*3*size.Height*size.Width), Tokens: make([]int64, m.Micro*length)}
	for i := range b.Pixels {
		b.Pixels[i] = rand.Float32()
	}
	last := int64(r.model.Config.Text.VocabSize - 1) // where CLIP's own texts end
	for i := range m.Micro {
		for j := range m.Tokens - 1 {
			b.Tokens[i*length+j] = 1 + rand.Int64N(last-1)
		}
		b.Tokens[i*length+m.Tokens-1] = last
	}
	return b
}

// status is a line of /proc/self/status, in bytes.
func status(t *testing.T, name string) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(text), "\n"+name+":")
	require.True(t, ok)
	var kb float64
	_, err = fmt.Sscan(after, &kb)
	require.NoError(t, err)
	return kb * 1024
}
