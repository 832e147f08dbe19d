package data

import (
	"context"
	"slices"
	"sort"
)

// Sources are data sets one after another, as Open finds them.
type Sources struct {
	sets  []Index
	first []int // the place of each set's first sample
	n     int
	parts []int
}

// join makes one source of a set.
func join(set Index) *Sources {
	s := &Sources{}
	s.add(set)
	s.parts = []int{set.Len()}
	return s
}

func (s *Sources) add(set Index) {
	s.sets, s.first = append(s.sets, set), append(s.first, s.n)
	s.n += set.Len()
}

// Parts returns the numbers of samples of the sources that `::` joined.
func (s *Sources) Parts() []int { return s.parts }

// LeftOut counts what was found and makes no sample: an image without a caption, or a caption
// without an image.
func (s *Sources) LeftOut() (n int) {
	for _, set := range s.sets {
		if set, ok := set.(interface{ LeftOut() int }); ok {
			n += set.LeftOut()
		}
	}
	return n
}

func (s *Sources) locate(i int) (Index, int) {
	at := sort.SearchInts(s.first, i+1) - 1
	return s.sets[at], i - s.first[at]
}

func (s *Sources) Len() int { return s.n }

func (s *Sources) Sample(ctx context.Context, i int) (Sample, error) {
	set, i := s.locate(i)
	return set.Sample(ctx, i)
}

func (s *Sources) Key(i int) string {
	set, i := s.locate(i)
	return set.Key(i)
}

func (s *Sources) Captions(i int) []string {
	set, i := s.locate(i)
	return set.Captions(i)
}

// Classes tells of a folder of classes among the sources: images of one class have captions in
// common.
func (s *Sources) Classes() bool {
	return slices.ContainsFunc(s.sets, func(set Index) bool {
		_, ok := set.(*Folders)
		return ok
	})
}
