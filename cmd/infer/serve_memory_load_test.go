//go:build load

package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const worstSide = 7000 // 49 megapixels, of the 50 that --max-pixels takes

// zeros is a zlib stream of n zeros.
func zeros(t *testing.T, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	piece := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(piece)) {
		_, err := w.Write(piece[:min(n, int64(len(piece)))])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// worstPNG has 16 bits a channel and four channels.
func worstPNG(t *testing.T) []byte {
	t.Helper()
	out := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
		from := len(out)
		out = append(append(out, kind...), data...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[from:]))
	}
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, worstSide), worstSide)
	chunk("IHDR", append(head, 16, 6, 0, 0, 0))
	chunk("IDAT", zeros(t, worstSide*(1+8*worstSide)))
	chunk("IEND", nil)
	return out
}

// worstTIFF is of the same pixels, in one strip.
func worstTIFF(t *testing.T) []byte {
	t.Helper()
	strip := zeros(t, 8*worstSide*worstSide)
	out := []byte("II*\x00\x08\x00\x00\x00")
	tags := [][3]uint32{{256, 4, worstSide}, {257, 4, worstSide}, {258, 3, 0}, {259, 3, 8}, {262, 3, 2}, {273, 4, 0}, {277, 3, 4}, {278, 4, worstSide}, {279, 4, uint32(len(strip))}, {338, 3, 2}}
	after := uint32(8 + 2 + 12*len(tags) + 4)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(tags)))
	for _, tag := range tags {
		n := uint32(1)
		switch tag[0] {
		case 258:
			n, tag[2] = 4, after
		case 273:
			tag[2] = after + 8
		}
		out = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(out, uint16(tag[0])), uint16(tag[1]))
		out = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(out, n), tag[2])
	}
	out = append(out, 0, 0, 0, 0, 16, 0, 16, 0, 16, 0, 16, 0)
	return append(out, strip...)
}

// worstBMP has runs of 8 bits.
func worstBMP() []byte {
	var rows []byte
	for range worstSide {
		for left := worstSide; left > 0; left -= 255 {
			rows = append(rows, byte(min(left, 255)), 1)
		}
		rows = append(rows, 0, 0)
	}
	rows = append(rows, 0, 1)
	const from = 14 + 40 + 4*256
	out := binary.LittleEndian.AppendUint32([]byte("BM"), uint32(from+len(rows)))
	for _, v := range []uint32{0, from, 40, worstSide, worstSide, 1 | 8<<16, 1, uint32(len(rows)), 0, 0, 256, 0} {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	return append(append(out, make([]byte, 4*256)...), rows...)
}

// worstFiles are images that take the most memory that their format takes within the limits. The
// progressive JPEG and the WebP claim a size that their data do not fill.
func worstFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"png": worstPNG(t), "tiff": worstTIFF(t), "bmp": worstBMP()}
	var b bytes.Buffer
	require.NoError(t, gif.Encode(&b, image.NewPaletted(image.Rect(0, 0, worstSide, worstSide), color.Palette{color.Black, color.White}), nil))
	files["gif"] = bytes.Clone(b.Bytes())
	b.Reset()
	require.NoError(t, jpeg.Encode(&b, image.NewYCbCr(image.Rect(0, 0, worstSide, worstSide), image.YCbCrSubsampleRatio420), nil))
	files["jpeg"] = bytes.Clone(b.Bytes())
	progressive := readFile(t, testImage("cat_progressive.jpg"))
	at := bytes.Index(progressive, []byte{0xff, 0xc2}) + 5
	require.Greater(t, at, 5)
	binary.BigEndian.PutUint16(progressive[at:], worstSide)
	binary.BigEndian.PutUint16(progressive[at+2:], worstSide)
	files["progressive"] = progressive
	webp := readFile(t, testImage("lossless.webp"))
	at = bytes.Index(webp, []byte("VP8L")) + 9
	require.Greater(t, at, 9)
	binary.LittleEndian.PutUint32(webp[at:], binary.LittleEndian.Uint32(webp[at:])&^(1<<28-1)|(worstSide-1)|(worstSide-1)<<14)
	files["webp"] = webp
	return files
}

// cgroup makes one whose processes may hold so many bytes, and skips where this may not be done.
func cgroup(t *testing.T, limit int64) (dir string, v2 bool) {
	t.Helper()
	root, files := "/sys/fs/cgroup/memory", map[string]string{"memory.limit_in_bytes": fmt.Sprint(limit)}
	if controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil && bytes.Contains(controllers, []byte("memory")) {
		v2, root, files = true, "/sys/fs/cgroup", map[string]string{"memory.max": fmt.Sprint(limit), "memory.swap.max": "0"}
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0o644) // it may be on
	}
	dir = filepath.Join(root, fmt.Sprintf("goclip-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("no cgroup can be made: ", err)
	}
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return os.Remove(dir) == nil }, 10*time.Second, 50*time.Millisecond)
	})
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Skip("the cgroup takes no limit: ", err)
		}
	}
	return dir, v2
}

// TestServeInContainer has 64 clients send the worst file of every format, broken and endless
// requests to a server whose cgroup has 2 GiB, for GOCLIP_MEMORY_SECONDS (600). Nothing kills it,
// and every answer is 200 or 4xx, 429 with the time to ask again.
func TestServeInContainer(t *testing.T) {
	const limit = 2 << 30
	dir, v2 := cgroup(t, limit)
	inside := process("serve", "--addr", "127.0.0.1:0")
	cmd := exec.Command("sh", append([]string{"-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(dir, "cgroup.procs")}, inside.Args...)...)
	cmd.Env = inside.Env
	s := started(t, cmd)

	type request struct{ path, body string }
	var requests []request
	var names []string
	for name, data := range worstFiles(t) {
		text := base64.StdEncoding.EncodeToString(data)
		names = append(names, fmt.Sprintf("%s %d bytes", name, len(data)))
		requests = append(requests, request{"/v1/embeddings", `{"input":{"image":"` + text + `"}}`},
			request{"/v1/classify", `{"labels":["a","b"],"images":["` + text + `","` + text + `","` + text + `"]}`})
	}
	requests = append(requests, request{"/v1/embeddings", `{"input":"` + strings.Repeat("a", 30<<20)},
		request{"/v1/classify", `{"labels":"` + strings.Repeat("a", 1<<20) + `","templates":"` + strings.Repeat("{}", 100_000) + `","images":"AAAA"}`},
		request{"/v1/embeddings", `{"input":[` + strings.Repeat(`"dog",`, 2047) + `"dog"]}`}, request{"/v1/embeddings", `{"input":[` + strings.Repeat("[],", 5_000_000) + `[]]}`})
	t.Log(names)

	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(campaign.FromEnv(t, "GOCLIP_MEMORY_SECONDS", 600))*time.Second)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var mu sync.Mutex
	answers := map[string]map[int]int{}
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for turn := i; ctx.Err() == nil; turn += 1 + i%3 {
				q := requests[turn%len(requests)]
				answer, err := client.Post(s.at+q.path, "application/json", strings.NewReader(q.body))
				if !assert.NoError(t, err) {
					return
				}
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				code := answer.StatusCode
				if code != 200 && (code < 400 || code >= 500) || code == 429 && answer.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %d: %.200s", q.path, code, text)
				}
				mu.Lock()
				if answers[q.path] == nil {
					answers[q.path] = map[int]int{}
				}
				answers[q.path][code]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	client.CloseIdleConnections()
	status := readFile(t, fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	peak, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	require.NoError(t, err)
	assert.LessOrEqual(t, int64(peak)<<10, int64(300<<20+limit/4+limit/2), "the formula of docs/serve.md; weights and batches are small")
	t.Logf("peak resident %d MiB of %d; answers %v", peak>>10, limit>>20, answers)
	events := "memory.oom_control"
	if v2 {
		events = "memory.events"
	}
	assert.Contains(t, string(readFile(t, filepath.Join(dir, events))), "oom_kill 0")
	assert.Contains(t, s.end(t), "requests were answered")
}
