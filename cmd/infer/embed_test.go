package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var npyText = regexp.MustCompile(`^\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \} *\n$`)

// readNpy reads an array as numpy.lib.format describes it.
func readNpy(t *testing.T, path string) (rows [][]float32) {
	t.Helper()
	data := readFile(t, path)
	require.Equal(t, "\x93NUMPY\x01\x00", string(data[:8]))
	size := int(binary.LittleEndian.Uint16(data[8:]))
	assert.Zero(t, (10+size)%64, "the format aligns its data to 64 bytes")
	shape := npyText.FindSubmatch(data[10 : 10+size])
	require.NotNil(t, shape, "%q", data[10:10+size])
	n, err := strconv.Atoi(string(shape[1]))
	require.NoError(t, err)
	width, err := strconv.Atoi(string(shape[2]))
	require.NoError(t, err)
	values := make([]float32, n*width)
	require.Len(t, data[10+size:], 4*n*width)
	require.NoError(t, binary.Read(bytes.NewReader(data[10+size:]), binary.LittleEndian, values))
	for i := range n {
		rows = append(rows, values[i*width:(i+1)*width])
	}
	return rows
}

func readLinesOf(t *testing.T, path string) (list []map[string]any) {
	t.Helper()
	scanner := bufio.NewScanner(bytes.NewReader(readFile(t, path)))
	for scanner.Scan() {
		var line map[string]any
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line))
		list = append(list, line)
	}
	return list
}

func norm(row []float32) float64 {
	sum := 0.0
	for _, x := range row {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

func TestEmbed(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	out := filepath.Join(dir, "deep", "out")
	pictures := []string{testImage("rgb_129x200.png"), testImage("face.png"), testImage("cat_lossy.webp"), testImage("grey.gif"), testImage("bit.tif")}
	gone := filepath.Join(dir, "gone.png")
	texts := []string{"one", "two", "three"}
	list := writeFile(t, dir, "texts.txt", []byte("one\ntwo\nthree\n"))
	_, images, words := features(t, tiny, pictures, texts)
	args := []string{"embed", "--model", tiny, "--out", out, "--texts", list, "--batch-size", "2", "--images", pictures[0], "--image-list", "-"}

	code, stdout, errs := infer(t, gone+"\n"+strings.Join(pictures[1:], "\n"), args...)
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout)
	assert.Contains(t, oneLine(t, errs), "gone.png")
	all := []string{"errors.jsonl", "image_features.npy", "images.jsonl", "text_features.npy", "texts.jsonl"}
	assert.Equal(t, all, names(t, out))
	for file, want := range map[string][][]float32{"image_features.npy": images, "text_features.npy": words} {
		rows := readNpy(t, filepath.Join(out, file))
		require.Len(t, rows, len(want))
		for i := range want {
			assert.InDeltaSlice(t, want[i], rows[i], 1e-5, "%s %d", file, i)
			assert.InDelta(t, 1, norm(rows[i]), 1e-5)
		}
	}
	for i, line := range readLinesOf(t, filepath.Join(out, "images.jsonl")) {
		assert.Equal(t, map[string]any{"row": float64(i), "path": pictures[i]}, line)
	}
	for i, line := range readLinesOf(t, filepath.Join(out, "texts.jsonl")) {
		assert.Equal(t, map[string]any{"row": float64(i), "text": texts[i]}, line)
	}
	unread := readLinesOf(t, filepath.Join(out, "errors.jsonl"))
	require.Len(t, unread, 1)
	assert.Equal(t, gone, unread[0]["path"])

	code, _, errs = infer(t, strings.Join(pictures[1:3], "\n"), append(args, "--raw")...)
	assert.Equal(t, 0, code, errs)
	assert.Equal(t, all, names(t, out), "a second run replaces")
	raw := readNpy(t, filepath.Join(out, "image_features.npy"))
	require.Len(t, raw, 3)
	assert.Greater(t, math.Abs(norm(raw[0])-1), 1e-3)
	for i := range raw[0] {
		assert.InDelta(t, images[0][i], float64(raw[0][i])/norm(raw[0]), 1e-5)
	}
	assert.Empty(t, readFile(t, filepath.Join(out, "errors.jsonl")))

	t.Run("full disk", func(t *testing.T) {
		before := map[string][]byte{}
		for _, name := range all {
			before[name] = readFile(t, filepath.Join(out, name))
		}
		var errs bytes.Buffer
		cmd := process(args...)
		cmd.Env = append(cmd.Env, fileLimit+"=400") // texts fit, images do not
		cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Join(pictures[1:], "\n")), &errs
		require.Error(t, cmd.Run())
		assert.Equal(t, 1, cmd.ProcessState.ExitCode())
		assert.Equal(t, "infer: "+filepath.Join(out, "image_features.npy")+" was not written: file too large", oneLine(t, errs.String()))
		assert.Equal(t, all, names(t, out))
		for _, name := range all {
			assert.Equal(t, before[name], readFile(t, filepath.Join(out, name)), name)
		}
	})

	t.Run("no image can be read", func(t *testing.T) {
		code, _, _ := infer(t, "", "embed", "--model", tiny, "--out", filepath.Join(dir, "none"), gone)
		assert.Equal(t, 1, code)
		assert.Empty(t, readNpy(t, filepath.Join(dir, "none", "image_features.npy")))
	})

	t.Run("a directory stands where a file goes", func(t *testing.T) {
		blocked := filepath.Join(dir, "blocked")
		require.NoError(t, os.MkdirAll(filepath.Join(blocked, "images.jsonl"), 0o755))
		code, _, errs := infer(t, "", "embed", "--model", tiny, "--out", blocked, pictures[0])
		assert.Equal(t, 1, code)
		assert.Contains(t, oneLine(t, errs), "images.jsonl was not written: it is a directory")
		assert.Equal(t, []string{"images.jsonl"}, names(t, blocked))
	})
}

// TestEmbedInterrupted sends the signal once the files are begun: nothing is left of them.
func TestEmbedInterrupted(t *testing.T) {
	tiny, dir := tinyModel(t), t.TempDir()
	list := writeFile(t, dir, "list.txt", []byte(strings.Repeat(testImage("rgb_1x1.png")+"\n", 500_000)))
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		out := filepath.Join(dir, "out")
		var errs bytes.Buffer
		cmd := process("embed", "--model", tiny, "--out", out, "--image-list", list)
		cmd.Stderr = &errs
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool {
			begun, err := os.ReadDir(out)
			return err == nil && len(begun) == 3
		}, time.Minute, time.Millisecond)
		require.NoError(t, cmd.Process.Signal(signal))
		require.Error(t, cmd.Wait())
		assert.Equal(t, 130, cmd.ProcessState.ExitCode())
		assert.Equal(t, "infer: interrupted; nothing was written", oneLine(t, errs.String()))
		assert.Empty(t, names(t, out))
	}
}
