//go:build unix

package preprocess

import (
	"testing"

	"github.com/goclip/goclip/internal/campaign"
)

// measure times f and adds the processor time that it took, which other programs on the machine hardly change.
func measure(b *testing.B, f func() error) {
	start := campaign.ProcessorTime()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(campaign.ProcessorTime()-start)/float64(b.N), "cpu-ns/op")
}
