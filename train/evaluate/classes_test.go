package evaluate

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip"
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
