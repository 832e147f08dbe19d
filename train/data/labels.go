package data

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Labels are images whose caption is the name, or the number, of their class: a table with a column
// of classes, shards with .cls members.
type Labels struct {
	Index
	classes []string
	labels  []int
}

// NewLabels takes the captions of set, one for each image, as classes: the different ones in
// alphabetical order, or in that of numbers if all are.
func NewLabels(set Index) (*Labels, error) {
	l := &Labels{Index: set, labels: make([]int, set.Len())}
	places := map[string]int{}
	for i := range l.labels {
		captions := set.Captions(i)
		if len(captions) != 1 || strings.TrimSpace(captions[0]) == "" {
			return nil, fmt.Errorf("data: %s has %d captions: an image must have one, which is its class", set.Key(i), len(captions))
		}
		name := strings.TrimSpace(captions[0])
		if _, known := places[name]; !known {
			places[name] = 0
			l.classes = append(l.classes, name)
		}
	}
	if len(l.classes) < 2 {
		return nil, errors.New("data: all images have the same caption: at least two classes must be there to tell apart")
	}
	slices.Sort(l.classes)
	if !slices.ContainsFunc(l.classes, func(name string) bool { _, err := strconv.Atoi(name); return err != nil }) {
		slices.SortFunc(l.classes, func(a, b string) int {
			x, _ := strconv.Atoi(a)
			y, _ := strconv.Atoi(b)
			return cmp.Compare(x, y)
		})
	}
	for i, name := range l.classes {
		places[name] = i
	}
	for i := range l.labels {
		l.labels[i] = places[strings.TrimSpace(set.Captions(i)[0])]
	}
	return l, nil
}

// Classes returns the different captions.
func (l *Labels) Classes() []string { return l.classes }

// Class is sample i's place in Classes.
func (l *Labels) Class(i int) int { return l.labels[i] }
