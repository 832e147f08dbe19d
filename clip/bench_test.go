package clip

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/torch"
)

// BenchmarkOpen opens the model directory GOCLIP_BENCH_MODEL, sharing the file's pages and copied. peak-MB is the
// largest size that the process has had, libtorch's own in it: run one of the two in a process. make bench does.
func BenchmarkOpen(b *testing.B) {
	dir := os.Getenv("GOCLIP_BENCH_MODEL")
	if dir == "" {
		b.Skip("GOCLIP_BENCH_MODEL names no model directory; make bench writes one")
	}
	for _, c := range []struct {
		name   string
		copied bool
	}{{"shared", false}, {"copied", true}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				m, err := Open(b.Context(), dir, &OpenOptions{Copy: c.copied})
				require.NoError(b, err)
				for _, p := range m.State() {
					p.Free()
				}
			}
			b.ReportMetric(peakMB(b), "peak-MB")
		})
	}
}

// peakMB is the largest size that the process has had.
func peakMB(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	kilobytes, err := strconv.ParseFloat(string(regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(status)[1]), 64)
	require.NoError(b, err)
	return kilobytes * 1024 / 1e6
}

// BenchmarkStep is forward and backward of a random ViT-B-32 on 64 images and their texts of 77 tokens, each block's
// temporaries kept for the backward pass or, with gradient checkpointing, computed again. For peak-MB run one of the two
// in a process.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name      string
		recompute bool
	}{{"kept", false}, {"recomputed", true}} {
		b.Run(c.name, func(b *testing.B) {
			config, err := tower.LookupConfig("ViT-B-32")
			require.NoError(b, err)
			m, err := New(config, 0)
			require.NoError(b, err)
			require.NoError(b, m.SetGradCheckpointing(c.recompute))
			m.SetTraining(true)
			ids := make([]int64, 64*m.ContextLength())
			for i := range ids {
				ids[i] = int64(1 + i%1000)
				if i%m.ContextLength() == m.ContextLength()-1 {
					ids[i] = int64(config.Text.VocabSize - 1)
				}
			}
			for b.Loop() {
				require.NoError(b, torch.Do(func(s *torch.Scope) {
					m.Loss(torch.Randn(s, torch.CPU, 64, 3, 224, 224), torch.FromSlice(s, ids, 64, m.ContextLength())).Backward()
				}))
			}
			b.ReportMetric(peakMB(b), "peak-MB")
			for _, p := range m.Parameters() {
				p.Free()
			}
		})
	}
}

// BenchmarkRoberta is a random roberta-base on 32 captions of 9 to 12 tokens but one of 40: forward as in inference, forward
// and backward as in training. "grouped" is how captions come, "padded" the same with a token behind each caption's padding, at
// the end of the longest: so all are computed at its length. cpu-ms/op is the processor time.
func BenchmarkRoberta(b *testing.B) {
	config, err := tower.LookupConfig("roberta-ViT-B-32")
	require.NoError(b, err)
	m, err := New(config, 0)
	require.NoError(b, err)
	const texts, longest = 32, 40
	length := m.ContextLength()
	grouped := slices.Repeat([]int64{1}, texts*length)
	for i := range texts {
		tokens := 9 + i%4
		if i == texts-1 {
			tokens = longest
		}
		for j := range tokens {
			grouped[i*length+j] = int64(3 + 97*i + j)
		}
	}
	padded := slices.Clone(grouped)
	for i := range texts {
		padded[i*length+longest-1] = 2
	}
	for _, work := range []struct {
		name string
		run  func(ids []int64) error
	}{
		{"forward", func(ids []int64) error {
			m.SetTraining(false)
			_, err := m.TextFeatures(ids, texts)
			return err
		}},
		{"step", func(ids []int64) error {
			m.SetTraining(true)
			return torch.Do(func(s *torch.Scope) { m.EncodeText(torch.FromSlice(s, ids, texts, length)).Mean().Backward() })
		}},
	} {
		for _, c := range []struct {
			name string
			ids  []int64
		}{{"grouped", grouped}, {"padded", padded}} {
			b.Run(work.name+"/"+c.name, func(b *testing.B) {
				require.NoError(b, work.run(c.ids)) // and all that happens only once
				cpu := -campaign.ProcessorTime().Seconds()
				n := 0.0
				for b.Loop() {
					require.NoError(b, work.run(c.ids))
					n++
				}
				b.ReportMetric((cpu+campaign.ProcessorTime().Seconds())*1e3/n, "cpu-ms/op")
			})
		}
	}
}
