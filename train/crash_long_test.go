//go:build crash

package train

const (
	crashEvery        = 20
	crashedTwiceEvery = 1
	failEach          = 1
	failedEvery       = 5
	failedMost        = 1 << 30
	runLookEvery      = 1
	runFinishEvery    = 20
)
