package clip

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
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
				m, err := Open(dir, OpenOptions{Copy: c.copied})
				require.NoError(b, err)
				for _, p := range m.State() {
					p.Free()
				}
			}
			status, err := os.ReadFile("/proc/self/status")
			require.NoError(b, err)
			kilobytes, err := strconv.ParseFloat(string(regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(status)[1]), 64)
			require.NoError(b, err)
			b.ReportMetric(kilobytes*1024/1e6, "peak-MB")
		})
	}
}
