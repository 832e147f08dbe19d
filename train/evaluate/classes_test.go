package evaluate

import (
	"context"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/train/data"
)

func TestClassNames(t *testing.T) {
	var ids, indices, want []string
	for i, c := range clip.ImageNetClasses() {
		ids, indices, want = append(ids, c.WordNetID), append(indices, strconv.Itoa(i)), append(want, c.Name)
	}
	got, err := ClassNames(ids)
	require.NoError(t, err)
	assert.Equal(t, want, got)

	slices.Sort(indices) // as folders are: 0, 1, 10, 100, 101
	got, err = ClassNames(indices)
	require.NoError(t, err)
	assert.Equal(t, []string{want[0], want[1], want[10], want[100]}, got[:4])

	got, err = ClassNames([]string{"0", "7", "grey_wolf", "n01440764", "n02012849", "n1"})
	require.NoError(t, err)
	assert.Equal(t, []string{"0", "7", "grey wolf", "tench", "crane bird", "n1"}, got)
}

// few are labelled images of some classes.
type few []string

func (f few) Len() int                                         { return len(f) }
func (f few) Sample(context.Context, int) (data.Sample, error) { return data.Sample{}, nil }
func (f few) Classes() []string                                { return f }
func (f few) Class(i int) int                                  { return i }

// TestWithin finds classes by number, by name and by WordNet id.
func TestWithin(t *testing.T) {
	imagenet, err := clip.ClassSet("imagenet")
	require.NoError(t, err)
	cifar, err := clip.ClassSet("cifar100")
	require.NoError(t, err)
	require.Len(t, cifar, 100)
	for _, c := range []struct {
		names []string
		have  few
		want  []int
	}{
		{cifar, few{"aquarium_fish", "Worm"}, []int{1, 99}},
		{cifar, few{"10", "2"}, []int{10, 2}},
		{imagenet, few{"n01440764", "n15075141", "tench"}, []int{0, 999, 0}},
		{[]string{"a", "same", "same"}, few{"a", "same", "same"}, []int{0, 1, 2}},
	} {
		set, err := Within(c.have, c.names)
		require.NoError(t, err)
		assert.Equal(t, c.names, set.Classes())
		for i, want := range c.want {
			assert.Equal(t, want, set.Class(i), c.have[i])
		}
	}
	_, err = Within(few{"apple", "unicorn"}, cifar)
	assert.ErrorContains(t, err, `the class "unicorn" is not one of the 100 names`)
	_, err = Within(few{"100", "2"}, cifar)
	assert.Error(t, err, "there are 100 numbers")
	_, err = clip.ClassSet("cifar")
	assert.ErrorContains(t, err, "imagenet, cifar10, cifar100")
	prompts, err := clip.Templates(clip.CIFAR18)
	require.NoError(t, err)
	assert.Len(t, prompts, 18)
}
