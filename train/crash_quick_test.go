//go:build !crash

package train

// Of how many states one is looked into; make crash takes more.
const (
	crashEvery        = 300 // of a crashed disk, to resume from it
	crashedTwiceEvery = 17  // of that resuming's crashes
	failEach          = 3   // of the operations, to fail
	failedEvery       = 20  // of what a disk holds after one that failed
	failedMost        = 40
	runLookEvery      = 20 // of a whole run's crashes
	runFinishEvery    = 40 // of those, to its end
)
