//go:build !crash

package train

// Of how many one is taken; make crash takes all, and more of the last.
const (
	crashEvery        = 50 // states of a crashed disk, to resume from
	crashedTwiceEvery = 3  // states of a disk that crashed in that resuming
	failEach          = 3  // operations, to fail
	failedEvery       = 5  // states of a disk after one that failed, of the first failedMost
	failedMost        = 40
	runLookEvery      = 20 // states of a disk that crashed in a whole run
	runFinishEvery    = 40 // of those, to run on to the end
)
