package checkpoint_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/checkpoint"
)

func file(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{1, 2, 3, 4, 5, 6}, 2, 3)
		half, err := checkpoint.FromTensor("half", x, torch.Float16)
		require.NoError(t, err)
		ids, err := checkpoint.FromTensor("ids", torch.FromSlice(s, []int64{7}, 1), torch.Int64)
		require.NoError(t, err)
		scalar, err := checkpoint.FromTensor("scalar", torch.FromSlice(s, []float32{2.5}), torch.Float32)
		require.NoError(t, err)
		require.NoError(t, checkpoint.Write(path, []checkpoint.Entry{half, ids, scalar}, map[string]string{"format": "pt"}))

		f, err := checkpoint.Open(path)
		require.NoError(t, err)
		defer f.Close()
		assert.Equal(t, []string{"half", "ids", "scalar"}, f.Names())
		assert.Equal(t, map[string]string{"format": "pt"}, f.Metadata())
		e, ok := f.Entry("half")
		require.True(t, ok)
		assert.Equal(t, checkpoint.F16, e.DType)
		y := torch.Zeros(s, torch.CPU, torch.Float32, 2, 3)
		require.NoError(t, f.CopyTo(e, y))
		assert.Equal(t, torch.ToSlice[float32](x), torch.ToSlice[float32](y))
		assert.EqualError(t, f.CopyTo(e, torch.Zeros(s, torch.CPU, torch.Float32, 3, 2)), "half has the shape [2 3] in the file and [3 2] in the model")
		sc, _ := f.Entry("scalar")
		assert.Equal(t, 2.5, sc.Tensor(s).Item())
	}))
}

// TestRows takes a part of a tensor, which stays as it was.
func TestRows(t *testing.T) {
	e := checkpoint.Entry{Name: "a", DType: checkpoint.U8, Shape: []int{4, 2, 3}, Data: []byte("abcdefghijklmnopqrstuvwx")}
	assert.Equal(t, checkpoint.Entry{Name: "a", DType: checkpoint.U8, Shape: []int{2, 2, 3}, Data: []byte("ghijklmnopqr")}, e.Rows(1, 3))
	assert.Equal(t, []int{4, 2, 3}, e.Shape)
	none := checkpoint.Entry{Shape: []int{0, 3}}
	assert.Empty(t, none.Rows(0, 0).Data)
}

func TestHostileFiles(t *testing.T) {
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"empty", "0 bytes are too few", nil},
		{"text", "over the limit", []byte("This is certainly not a checkpoint")},
		{"cut header", "goes beyond the end of the file", file(`{"a":{}}`)[:10]},
		{"no JSON", "not the JSON of a safetensors file", file(`{"a":`)},
		{"array", "it is not an object", file(`[]`)},
		{"cut data", "cut off or corrupt", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 1, 2, 3)},
		{"type", `its type "F31": must be one of`, file(`{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}`, 0, 0, 0, 0)},
		{"negative", "negative size", file(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 0, 0, 0, 0)},
		{"overflow", "too large", file(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}`, 0, 0, 0, 0)},
		{"size", "takes 4 bytes, not 3", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}}`, 0, 0, 0)},
		{"twice", "listed twice", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0)},
		{"overlap", "where the data before it ends at 1", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0)},
		{"hole", "where the data before it ends at 0", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 0, 0)},
		{"tail", "1 bytes follow", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0, 0)},
		{"offsets", "not the JSON", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":"x"}}`, 0)},
		{"after", "something follows", file(`{} x`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.safetensors")
			require.NoError(t, os.WriteFile(path, c.data, 0o644))
			_, err := checkpoint.Open(path)
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, path)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// TestFullDisk writes beyond the limit on the size of files, which fails in the middle as a full disk does.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.safetensors")
	small := []checkpoint.Entry{{Name: "a", DType: checkpoint.U8, Shape: []int{3}, Data: []byte{1, 2, 3}}}
	require.NoError(t, checkpoint.Write(path, small, nil))
	var was syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 16, Max: was.Max}))
	large := []checkpoint.Entry{{Name: "a", DType: checkpoint.U8, Shape: []int{8 << 20}, Data: make([]byte, 8<<20)}}
	err := checkpoint.Write(path, large, nil)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was))
	require.ErrorContains(t, err, "the disk is full")
	assert.True(t, strings.Contains(err.Error(), path), err)
	f, err := checkpoint.Open(path)
	require.NoError(t, err, "the former file stays")
	require.NoError(t, f.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 1, "no temporary file stays")
}
