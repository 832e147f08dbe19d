package train_test

import (
	"testing"

	"github.com/goclip/goclip/internal/gputest"
)

// TestRunsOnStandIn has whole runs compute on a stand-in for a GPU: their precisions, resuming, several micro-batches a step,
// locked towers, LoRA, distillation, averaged weights, evaluation.
func TestRunsOnStandIn(t *testing.T) {
	gputest.Run(t, "^(TestPrecisions|TestAccumulatedRuns|TestResumeIsExact|TestLockedRuns|TestTunedRuns|TestDistillation|TestOwnLoss|TestExtended|TestZeroshot|TestNonFinite|TestOverfit)$")
}
