package checkpoint_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

func numbers(n int) checkpoint.Entry {
	e := checkpoint.Entry{Name: "x", DType: checkpoint.F32, Shape: []int{n / 4, 4}}
	for i := range n {
		e.Data = binary.LittleEndian.AppendUint32(e.Data, math.Float32bits(float32(i)))
	}
	return e
}

// TestShare has a tensor take its numbers from the file: it outlives File and name, what is written stays out of the
// file, and the mapping goes with the tensor.
func TestShare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared.safetensors")
	const n = 1 << 16
	require.NoError(t, checkpoint.Write(path, []checkpoint.Entry{numbers(n)}, nil))
	before := settled.Count(torch.LiveTensors)
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		f, err := checkpoint.Open(path)
		require.NoError(t, err)
		e, _ := f.Entry("x")
		x := torch.Zeros(s, torch.CPU, torch.Float32, n/4, 4)
		shared, err := f.Share(e, x)
		require.NoError(t, err)
		require.True(t, shared)
		require.NoError(t, f.Close())
		assert.Equal(t, 1, mappings(t, "shared.safetensors"))

		x.Select(0, 0).Fill(-1)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, numbers(n).Data, data[len(data)-4*n:], "the file is as it was")
		require.NoError(t, checkpoint.Write(path, []checkpoint.Entry{numbers(8)}, nil), "another file takes its name")
		got := torch.ToSlice[float32](x)
		assert.Equal(t, []float32{-1, -1, -1, -1, 4, 5}, got[:6])
		assert.Equal(t, float32(n-1), got[n-1])
	}))
	assert.Zero(t, mappings(t, "shared.safetensors"))
	assert.Equal(t, before, torch.LiveTensors())
}

// TestShareFallsBack leaves to CopyTo what only that can do.
func TestShareFallsBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	half := checkpoint.Entry{Name: "half", DType: checkpoint.F16, Shape: []int{1}, Data: []byte{0, 0x3c}}
	odd, even := numbers(8), numbers(8)
	even.Name = "even"
	require.NoError(t, checkpoint.Write(path, []checkpoint.Entry{even, half, odd}, nil))
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		f, err := checkpoint.Open(path)
		require.NoError(t, err)
		defer f.Close()
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		unmapped, err := checkpoint.Parse("memory", data)
		require.NoError(t, err)
		for _, c := range []struct {
			f    *checkpoint.File
			name string
			dst  *torch.Tensor
		}{
			{f, "half", torch.Zeros(s, torch.CPU, torch.Float32, 1)},
			{f, "x", torch.Zeros(s, torch.CPU, torch.Float32, 2, 4)}, // two bytes behind the half
			{unmapped, "x", torch.Zeros(s, torch.CPU, torch.Float32, 2, 4)},
			{f, "even", torch.Zeros(s, torch.CPU, torch.Float32, 8)},
			{f, "even", torch.Zeros(s, torch.CPU, torch.Float64, 2, 4)},
		} {
			e, _ := c.f.Entry(c.name)
			shared, err := c.f.Share(e, c.dst)
			require.NoError(t, err)
			assert.False(t, shared)
		}
		e, _ := f.Entry("x")
		x := torch.Zeros(s, torch.CPU, torch.Float32, 2, 4)
		require.NoError(t, f.CopyTo(e, x))
		assert.Equal(t, float32(7), torch.ToSlice[float32](x)[7])
	}))
}

func mappings(t *testing.T, name string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return strings.Count(string(maps), name)
}

// TestLentErr tells of a file that is written into while tensors share its numbers, after Close.
func TestLentErr(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	require.NoError(t, checkpoint.Write(path, []checkpoint.Entry{numbers(1 << 12)}, nil))
	hourAgo := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, hourAgo, hourAgo))
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		f, err := checkpoint.Open(path)
		require.NoError(t, err)
		assert.Nil(t, f.Lent(), "nothing is shared yet")
		assert.NoError(t, f.Lent().Err())
		e, _ := f.Entry("x")
		x := torch.Zeros(s, torch.CPU, torch.Float32, 1<<10, 4)
		_, err = f.Share(e, x)
		require.NoError(t, err)
		lent := f.Lent()
		require.NoError(t, f.Err())
		require.NoError(t, f.Close())
		require.NoError(t, lent.Err())
		require.NoError(t, os.Truncate(path, 100))
		assert.ErrorIs(t, lent.Err(), checkpoint.ErrChanged)
		assert.ErrorContains(t, lent.Err(), path)
		torch.ToSlice[float32](x) // and ends no process
	}))

	require.NoError(t, checkpoint.Write(path, []checkpoint.Entry{numbers(1 << 16)}, nil))
	require.NoError(t, os.Chtimes(path, hourAgo, hourAgo))
	f, err := checkpoint.Open(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 5000))
	e, _ := f.Entry("x")
	x := torch.Zeros(nil, torch.CPU, torch.Float32, 1<<14, 4)
	defer x.Free()
	require.NoError(t, f.CopyTo(e, x))
	assert.ErrorIs(t, f.Err(), checkpoint.ErrChanged)
	require.NoError(t, f.Close())
}
