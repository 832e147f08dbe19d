// Package corpus counts how files of testdata are read beside the libraries whose results stand there, for make corpus.
// Only tests import it.
package corpus

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// Outcome is how a file is read beside the other library.
type Outcome int

// The outcomes; all but the first two need a reason.
const (
	Equal       Outcome = iota
	BothRefuse          // both say that it cannot be read
	OnlyHere            // the other library refuses it
	RefusedHere         // the other library reads it
	Differs             // both read it, and differ
	outcomes
)

// Tally counts outcomes by kind of file.
type Tally struct {
	Beside string // the other library

	counts  map[string]*[outcomes]int
	reasons map[string]int
}

// Add counts a file. An outcome that needs a reason and has none fails the test: nothing differs silently.
func (t *Tally) Add(tb testing.TB, kind, file string, o Outcome, reason string) {
	tb.Helper()
	if o >= OnlyHere && reason == "" {
		tb.Errorf("%s: %s is read otherwise than by %s, without a reason", kind, file, t.Beside)
	}
	if t.counts == nil {
		t.counts, t.reasons = map[string]*[outcomes]int{}, map[string]int{}
	}
	if t.counts[kind] == nil {
		t.counts[kind] = &[outcomes]int{}
	}
	t.counts[kind][o]++
	if reason != "" {
		word := [outcomes]string{OnlyHere: "read here alone", RefusedHere: "refused here alone", Differs: "other values"}[o]
		t.reasons[fmt.Sprintf("%s, %s: %s", kind, word, reason)]++
	}
}

// Log prints the table, each line after "corpus: ", and gives the number of files.
func (t *Tally) Log(tb testing.TB) (files int) {
	tb.Logf("corpus: %-22s %6s %6s %12s %10s %13s %6s", "beside "+t.Beside, "files", "equal", "both refuse", "here alone", "refused alone", "other")
	for _, kind := range slices.Sorted(maps.Keys(t.counts)) {
		n := t.counts[kind]
		all := 0
		for _, count := range n {
			all += count
		}
		files += all
		tb.Logf("corpus: %-22s %6d %6d %12d %10d %13d %6d", kind, all, n[Equal], n[BothRefuse], n[OnlyHere], n[RefusedHere], n[Differs])
	}
	for _, reason := range slices.Sorted(maps.Keys(t.reasons)) {
		tb.Logf("corpus:   %3d %s", t.reasons[reason], reason)
	}
	return files
}
