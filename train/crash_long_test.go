//go:build crash

package train

const (
	crashEvery        = 1
	crashedTwiceEvery = 1
	failEach          = 1
	failedEvery       = 1
	failedMost        = 1 << 30
	runLookEvery      = 1
	runFinishEvery    = 20
)
