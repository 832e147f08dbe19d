//go:build load

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func loadModel() []string {
	if m := os.Getenv("GOCLIP_LOAD_MODEL"); m != "" {
		return []string{"--model", m}
	}
	return nil
}

var loadImages = []string{"face.png", "cup_444.jpg", "palette.png", "lossless.webp", "rgb_500x333.png", "cat_grey.jpg", "face_420.jpg", "grey_alpha.png"}

// embedRate is the images that infer embed computes a second, and the CPU's milliseconds that one
// takes: by the difference of n and of n/4 images, so that starting is not in it.
func embedRate(t *testing.T, n, batch int) (rate, cpu float64) {
	t.Helper()
	took := func(n int) (wall, cpu float64) {
		var list strings.Builder
		for i := range n {
			path, err := filepath.Abs(testImage(loadImages[i%len(loadImages)]))
			require.NoError(t, err)
			fmt.Fprintln(&list, path)
		}
		cmd := process(append([]string{"embed", "--image-list", "-", "--out", t.TempDir(), "--batch-size", strconv.Itoa(batch)}, loadModel()...)...)
		cmd.Stdin = strings.NewReader(list.String())
		start := time.Now()
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return time.Since(start).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	}
	few, fewCPU := took(n / 4)
	many, manyCPU := took(n)
	return float64(n-n/4) / (many - few), 1e3 * (manyCPU - fewCPU) / float64(n-n/4)
}

// cpuOf is the CPU time that a process has taken, in seconds (proc(5): utime and stime, in
// hundredths).
func cpuOf(t *testing.T, pid int) float64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.ParseFloat(fields[11], 64)
	require.NoError(t, err)
	system, err := strconv.ParseFloat(fields[12], 64)
	require.NoError(t, err)
	return (user + system) / 100
}

// cpuSince reports the CPU time in seconds that a server, and this process with the clients, take from
// now on.
func cpuSince(t *testing.T, pid int) func() (server, own float64) {
	server, own := cpuOf(t, pid), cpuOf(t, os.Getpid())
	return func() (float64, float64) { return cpuOf(t, pid) - server, cpuOf(t, os.Getpid()) - own }
}

// outcome is what a phase of requests came to.
type outcome struct {
	mu      sync.Mutex
	seconds map[int][]float64 // by status; 0 is an error of the connection
	late    int               // refused without Retry-After
}

func (o *outcome) add(code int, took time.Duration, retry string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seconds[code] = append(o.seconds[code], took.Seconds())
	if code == http.StatusTooManyRequests && retry == "" {
		o.late++
	}
}

func (o *outcome) quantile(code int, q float64) float64 {
	list := o.seconds[code]
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(int(q*float64(len(list))), len(list)-1)]
}

func (o *outcome) errors() (n int) {
	for code, list := range o.seconds {
		if code != http.StatusOK && code != http.StatusTooManyRequests {
			n += len(list)
		}
	}
	return n
}

// clients are connections to a server. They do no more than they must: what they take of the CPU
// on the same machine is not the server's.
type clients struct {
	host string
	idle chan *connection
}

type connection struct {
	net.Conn
	answers *bufio.Reader
}

func newClients(at string) *clients {
	return &clients{host: strings.TrimPrefix(at, "http://"), idle: make(chan *connection, 4096)}
}

// request is a POST of body as it is sent.
func (c *clients) request(path string, body []byte) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, c.host, len(body), body)
}

// ask sends a request on a connection that waits for none, and adds what came of it.
func (c *clients) ask(request []byte, o *outcome) {
	start := time.Now()
	code, retry, err := c.send(request)
	if err != nil {
		code = 0
	}
	o.add(code, time.Since(start), retry)
}

func (c *clients) send(request []byte) (code int, retry string, err error) {
	var to *connection
	select {
	case to = <-c.idle:
	default:
		dialed, err := net.Dial("tcp", c.host)
		if err != nil {
			return 0, "", err
		}
		to = &connection{dialed, bufio.NewReader(dialed)}
	}
	if _, err = to.Write(request); err == nil {
		err = to.SetReadDeadline(time.Now().Add(time.Minute))
	}
	var answer *http.Response
	if err == nil {
		answer, err = http.ReadResponse(to.answers, nil)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
	}
	if err != nil || answer.Close {
		to.Close()
	} else {
		c.idle <- to
	}
	if err != nil {
		return 0, "", err
	}
	return answer.StatusCode, answer.Header.Get("Retry-After"), nil
}

// close closes the connections that wait for no answer.
func (c *clients) close() {
	for {
		select {
		case to := <-c.idle:
			to.Close()
		default:
			return
		}
	}
}

func residentOf(t *testing.T, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, found := bytes.Cut(status, []byte("VmRSS:"))
	require.True(t, found)
	var kib float64
	_, err = fmt.Sscan(string(rest), &kib)
	require.NoError(t, err)
	return kib / 1024
}

// refusedWithin is the fraction of the refused requests that the server itself was done with within 5
// ms.
func refusedWithin(t *testing.T, at string) (share float64) {
	t.Helper()
	answer, err := http.Get(at + "/metrics")
	require.NoError(t, err)
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	var within, all float64
	for line := range strings.Lines(string(page)) {
		const name = `goclip_serve_request_seconds_`
		fmt.Sscanf(line, name+`bucket{code="429",endpoint="/v1/embeddings",le="0.005"} %g`, &within)
		fmt.Sscanf(line, name+`count{code="429",endpoint="/v1/embeddings"} %g`, &all)
	}
	return within / max(all, 1)
}

// TestLoad: 64 clients without a pause beside the rate of infer embed on the same images, then
// ten times what was reached, then SIGTERM. No time is asserted: the figures are for docs/serve.md.
// Errors and memory are. GOCLIP_LOAD_MODEL names the model (the built-in one without),
// GOCLIP_LOAD_SECONDS the time of 64 clients (120), GOCLIP_LOAD_EMBED the images for the rate of infer
// embed (4,000), GOCLIP_LOAD_OVERLOAD the seconds of ten times the rate (30), and GOCLIP_LOAD_FLAGS
// flags of infer serve.
func TestLoad(t *testing.T) {
	n := campaign.FromEnv(t, "GOCLIP_LOAD_EMBED", 4000)
	best := 0.0
	for _, batch := range []int{16, 32, 64} {
		rate, cpu := embedRate(t, n, batch)
		t.Logf("infer embed --batch-size %d: %.1f pictures/s, %.2f ms of the CPU for each", batch, rate, cpu)
		best = max(best, rate)
	}
	s := begin(t, slices.Concat(loadModel(), strings.Fields(os.Getenv("GOCLIP_LOAD_FLAGS")), []string{"--quiet"})...)
	client := newClients(s.at)
	var requests [][]byte
	for _, name := range loadImages {
		data := base64.StdEncoding.EncodeToString(readFile(t, testImage(name)))
		requests = append(requests, client.request("/v1/embeddings", []byte(`{"encoding_format":"base64","input":{"image":"`+data+`"}}`)))
	}

	seconds := campaign.FromEnv(t, "GOCLIP_LOAD_SECONDS", 120)
	steady := &outcome{seconds: map[int][]float64{}}
	used := cpuSince(t, s.cmd.Process.Pid)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for turn := i; ctx.Err() == nil; turn++ {
				client.ask(requests[turn%len(requests)], steady)
			}
		})
	}
	var looks []float64
	for every := time.Tick(time.Duration(seconds) * time.Second / 100); ctx.Err() == nil; <-every {
		looks = append(looks, residentOf(t, s.cmd.Process.Pid))
	}
	all.Wait()
	early, late := campaign.Gained(looks)
	server, own := used()
	worked := 1e3 * server / float64(len(steady.seconds[200]))
	throughput := float64(len(steady.seconds[200])) / float64(seconds)
	t.Logf("64 clients, %d s: %.1f pictures/s, p50 %.0f ms, p99 %.0f ms, %.2f ms of the CPU for each (the clients took %.1f s of the CPU, the server %.1f s); errors %d, refused %d; resident at least %.0f MiB in the second quarter and %.0f MiB in the last, at most %.0f MiB",
		seconds, throughput, 1e3*steady.quantile(200, 0.5), 1e3*steady.quantile(200, 0.99), worked, own, server, steady.errors(), len(steady.seconds[429]), early, late, slices.Max(looks))
	client.close() // the server closes what is idle for long
	after, cpu := embedRate(t, n, 32)
	t.Logf("infer embed after it: %.1f pictures/s, %.2f ms of the CPU for each; the server's throughput is %.3f of the best before, %.3f of the one after; by the CPU's time it is %.3f",
		after, cpu, throughput/best, throughput/after, cpu/worked)
	assert.Zero(t, steady.errors())
	assert.LessOrEqual(t, late-early, 20.0, "MiB gained")

	overload := campaign.FromEnv(t, "GOCLIP_LOAD_OVERLOAD", 30)
	flood := &outcome{seconds: map[int][]float64{}}
	gap := time.Duration(float64(time.Second) / (10 * throughput))
	used = cpuSince(t, s.cmd.Process.Pid)
	begun, sent := time.Now(), 0
	var open atomic.Int64
	for time.Since(begun) < time.Duration(overload)*time.Second {
		for ; time.Duration(sent)*gap < time.Since(begun); sent++ {
			open.Add(1)
			turn := sent
			all.Go(func() { client.ask(requests[turn%len(requests)], flood); open.Add(-1) })
		}
		time.Sleep(min(gap, time.Millisecond))
	}
	flood.mu.Lock()
	inTime := len(flood.seconds[200])
	flood.mu.Unlock()
	server, own = used()
	hanging := open.Load()
	all.Wait()
	t.Logf("ten times that, %d requests in %d s: %.1f pictures/s (%.3f of before), refused %d, the client's p50 %.1f ms and p99 %.1f ms, the server's own within 5 ms %.4f; errors %d, without Retry-After %d, open at the end %d, all answered; accepted p99 %.0f ms; resident %.0f MiB",
		sent, overload, float64(inTime)/float64(overload), float64(inTime)/float64(overload)/throughput, len(flood.seconds[429]), 1e3*flood.quantile(429, 0.5), 1e3*flood.quantile(429, 0.99), refusedWithin(t, s.at),
		flood.errors(), flood.late, hanging, 1e3*flood.quantile(200, 0.99), residentOf(t, s.cmd.Process.Pid))
	t.Logf("by the CPU's time: the server took %.1f s, %.2f ms for each picture that was answered in time, so %.3f of before; the clients took %.1f s",
		server, 1e3*server/float64(inTime), worked*float64(inTime)/(1e3*server), own)
	assert.Zero(t, flood.errors())
	assert.Zero(t, flood.late)
	assert.NotEmpty(t, flood.seconds[429])
	client.close()
	assert.Contains(t, s.end(t), fmt.Sprintf("infer: %d requests were answered\n", len(steady.seconds[200])+len(flood.seconds[200])))
}
