package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/index"
)

// server is infer serve as a process of its own.
type server struct {
	cmd  *exec.Cmd
	at   string // http://127.0.0.1:PORT
	rest chan string
}

// begin starts infer serve on a free port and waits until it listens.
func begin(t testing.TB, args ...string) *server {
	t.Helper()
	return started(t, process(append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...))
}

// started starts a command that is a server.
func started(t testing.TB, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{cmd: cmd, rest: make(chan string, 1)}
	errs, err := s.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	lines := bufio.NewReader(errs)
	said := ""
	for s.at == "" {
		line, err := lines.ReadString('\n')
		said += line
		require.NoError(t, err, said)
		s.at = strings.TrimSpace(regexp.MustCompile(`http://[^\s,]+`).FindString(line))
		s.at = strings.TrimSuffix(s.at, "/clip")
	}
	go func() {
		all, _ := io.ReadAll(lines)
		s.rest <- string(all)
	}()
	return s
}

// end sends SIGTERM and gives what the server said after its first line.
func (s *server) end(t testing.TB) string {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	rest := <-s.rest
	require.NoError(t, s.cmd.Wait(), rest)
	return rest
}

func dogRequest(t *testing.T) []byte {
	t.Helper()
	dog := readFile(t, filepath.Join("..", "..", "data", "demo", "dog.png"))
	return []byte(`{"input":"data:image/png;base64,` + base64.StdEncoding.EncodeToString(dog) + `"}`)
}

// SIGTERM in the middle of the work of 16 clients: all that was accepted is answered, and the
// status is 0.
func TestServe(t *testing.T) {
	s := begin(t, "--token", "open sesame")
	request := dogRequest(t)
	var whole atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for {
				r, _ := http.NewRequest(http.MethodPost, s.at+"/v1/embeddings", bytes.NewReader(request))
				r.Header.Set("Authorization", "Bearer open sesame")
				answer, err := client.Do(r)
				if err != nil {
					return // no more is accepted
				}
				var a struct {
					Data []struct{ Embedding []float32 }
				}
				err = json.NewDecoder(answer.Body).Decode(&a)
				answer.Body.Close()
				if !assert.NoError(t, err) || !assert.Equal(t, 200, answer.StatusCode) || !assert.Len(t, a.Data[0].Embedding, 128) {
					return
				}
				whole.Add(1)
			}
		})
	}
	time.Sleep(time.Second)
	said := s.end(t)
	all.Wait()
	assert.Positive(t, whole.Load())
	assert.Contains(t, said, fmt.Sprintf("infer: %d requests were answered\n", whole.Load()))
}

func TestServeCommandLine(t *testing.T) {
	tiny, busy := tinyModel(t), begin(t)
	defer busy.end(t)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--addr 8080", 2, "--addr 8080 must be HOST:PORT"},
		{"--addr " + strings.TrimPrefix(busy.at, "http://"), 1, "address already in use"},
		{"--queue 0", 2, "--queue must be positive"},
		{"--max-decoding -1", 2, "--max-bodies and --max-decoding must be positive"},
		{"--max-body 10 --max-bodies 5", 2, "--max-body 10 is more than --max-bodies 5"},
		{"--batch-window soon", 2, "--batch-window"},
		{"--decoders -1", 2, "--decoders -1"},
		{"--batch-size 0", 2, "--batch-size 0"},
		{"--model ViT-Q", 1, "ViT-Q"},
		{"--model ViT-B-32:openai --pretrained openai", 2, "--pretrained names the weights of one model"},
		{"--immich-upstream immich:3003", 2, "--immich-upstream immich:3003 must be an address"},
		{"--otlp-endpoint localhost:4318", 2, "--otlp-endpoint localhost:4318 must be the address of a collector"},
		{"--base-path clip", 2, "--base-path clip must begin with a slash"},
		{"--trusted-proxy nginx", 2, "--trusted-proxy nginx must be an address or a network"},
		{"--addr unix:", 2, "--addr unix: must be HOST:PORT"},
		{"--alias a=b", 2, "--alias a=b: no --model is b"},
		{"--ttl -1s", 2, "--ttl must be positive"},
	} {
		code, out, errs := infer(t, "", append([]string{"serve", "--model", tiny}, strings.Fields(c.args)...)...)
		assert.Equal(t, c.code, code, errs)
		assert.Empty(t, out)
		assert.Contains(t, oneLine(t, errs), c.says)
	}
}

// A token comes from the environment as well, and is in no answer.
func TestServeTokenOfEnvironment(t *testing.T) {
	require.NoError(t, os.Setenv("GOCLIP_TOKEN", "of the environment"))
	defer os.Unsetenv("GOCLIP_TOKEN")
	s := begin(t)
	answer, err := http.Post(s.at+"/v1/embeddings", "application/json", strings.NewReader(`{"input":"a"}`))
	require.NoError(t, err)
	answer.Body.Close()
	assert.Equal(t, 401, answer.StatusCode)
	s.end(t)
}

// Two models, of which the second is replaced while clients ask: SIGHUP loads it again.
func TestServeModels(t *testing.T) {
	second := filepath.Join(t.TempDir(), "second")
	require.NoError(t, os.CopyFS(second, os.DirFS(tinyModel(t))))
	s := begin(t, "--model", "emoji-64", "--model", second, "--alias", "mine="+second, "--preload")
	ask := func(name string) (embedding []float32) {
		answer, err := http.Post(s.at+"/v1/embeddings", "application/json", strings.NewReader(`{"model":"`+name+`","input":"a dog"}`))
		require.NoError(t, err)
		defer answer.Body.Close()
		var a struct {
			Data  []struct{ Embedding []float32 }
			Error struct{ Message string }
		}
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&a))
		require.Equal(t, 200, answer.StatusCode, a.Error.Message)
		return a.Data[0].Embedding
	}
	before := ask("mine")
	assert.Equal(t, before, ask("second"))
	assert.Len(t, ask("emoji-64"), 128)
	config, err := tower.ParseConfig([]byte(tinyConfig))
	require.NoError(t, err)
	other, err := clip.New(config, 7)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(second))
	require.NoError(t, other.Save(second))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	assert.Eventually(t, func() bool { return !slices.Equal(before, ask("mine")) }, 30*time.Second, 50*time.Millisecond)
	require.NoError(t, os.RemoveAll(second))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	assert.NotEqual(t, before, ask("mine"))
	said := s.end(t)
	assert.Contains(t, said, "the models were reloaded")
}

// TestServeSwitch switches an index from one served model to another while it is searched: every
// search is answered, by the one and then by the other.
func TestServeSwitch(t *testing.T) {
	config, err := tower.ParseConfig([]byte(tinyConfig))
	require.NoError(t, err)
	dir := t.TempDir()
	models := []string{filepath.Join(dir, "first"), filepath.Join(dir, "second")}
	for i, saved := range models {
		m, err := clip.New(config, uint64(i+1))
		require.NoError(t, err)
		require.NoError(t, m.Save(saved))
	}
	at, demo := filepath.Join(dir, "index"), filepath.Join("..", "..", "data", "demo")
	code, _, errs := infer(t, "", "index", "--model", models[0], "--out", at, demo)
	require.Zero(t, code, errs)
	s := begin(t, "--model", models[0], "--model", models[1], "--index", at)
	search := func() string {
		answer, err := http.Post(s.at+"/v1/search", "application/json", strings.NewReader(`{"text":"a dog","top_k":2}`))
		if !assert.NoError(t, err) {
			return ""
		}
		defer answer.Body.Close()
		var found struct {
			Model string
			Hits  []struct{ Path string }
		}
		assert.NoError(t, json.NewDecoder(answer.Body).Decode(&found))
		assert.Equal(t, http.StatusOK, answer.StatusCode)
		assert.Len(t, found.Hits, 2)
		return found.Model
	}
	assert.Equal(t, "first", search())
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for of := ""; of != "second" && !t.Failed(); of = search() {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	code, _, errs = infer(t, "", "index", "--model", models[1], "--out", at, demo)
	assert.Zero(t, code, errs)
	assert.Equal(t, "second", search())
	close(stop)
	clients.Wait()
	s.end(t)
}

// TestServeIndex searches an index over HTTP; one of another model is refused.
func TestServeIndex(t *testing.T) {
	at, tiny := filepath.Join(t.TempDir(), "index"), filepath.Join(t.TempDir(), "other")
	demo := filepath.Join("..", "..", "data", "demo")
	code, _, errs := infer(t, "", "index", "--out", at, demo)
	require.Zero(t, code, errs)
	s := begin(t, "--index", at)
	_, own, _ := infer(t, "", "search", "--index", at, "--model", "emoji-64", "--format", "json", "racing car") // opens the model itself
	require.FileExists(t, filepath.Join(at, localName))
	ix, err := index.Open(at)
	require.NoError(t, err)
	defer ix.Close()
	info, err := ix.Info(t.Context())
	require.NoError(t, err)
	rows, err := askLocal(t.Context(), at, info.Model, []string{"racing car"})
	require.NoError(t, err)
	require.Len(t, rows, 1)
	other := info.Model
	other.Weights = "of another model"
	_, err = askLocal(t.Context(), at, other, []string{"racing car"})
	require.ErrorContains(t, err, "another model")
	_, err = askLocal(t.Context(), at, info.Model, []string{strings.Repeat("a dog ", 100)}) // cut off, which infer search warns of
	require.ErrorIs(t, err, errNoServer)
	_, found, _ := infer(t, "", "search", "--index", at, "--format", "json", "racing car")
	assert.JSONEq(t, own, found)
	special := []string{"search", "--index", at, "--format", "json", "--plain-text", "a dog<end_of_text>racing car"}
	_, beside, _ := infer(t, "", special...)
	answer, err := http.Post(s.at+"/v1/search", "application/json", strings.NewReader(`{"text":"racing car","top_k":1}`))
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode, "%s", body)
	var a struct{ Hits []struct{ Path string } }
	require.NoError(t, json.Unmarshal(body, &a))
	require.Len(t, a.Hits, 1)
	assert.Equal(t, "racing_car.png", filepath.Base(a.Hits[0].Path))
	s.end(t)
	assert.NoFileExists(t, filepath.Join(at, localName))
	_, alone, _ := infer(t, "", special...)
	assert.JSONEq(t, alone, beside, "the server takes special tokens as such")
	s = begin(t, "--index", at, "--plain-text")
	assert.NoFileExists(t, filepath.Join(at, localName))
	s.end(t)

	code, _, errs = infer(t, "", "index", "--model", tinyModel(t), "--out", tiny, demo)
	require.Zero(t, code, errs)
	for dir, says := range map[string]string{tiny: "the index was made with the model", filepath.Join(tiny, "none"): "is not an index"} {
		code, _, errs = infer(t, "", "serve", "--addr", "127.0.0.1:0", "--model", "emoji-64", "--index", dir)
		assert.Equal(t, 1, code)
		assert.Contains(t, errs, says)
	}
}

// TestNoDescriptors leaves a server without file descriptors for connections: it says so, and goes
// on when there are some.
func TestNoDescriptors(t *testing.T) {
	s := begin(t, "--model", tinyModel(t))
	open := len(names(t, fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)))
	limit := uint64(open + 2)
	require.NoError(t, unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil))
	var conns []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.at, "http://"))
		require.NoError(t, err)
		conns = append(conns, c)
	}
	time.Sleep(200 * time.Millisecond) // for the server to accept what it can
	for _, c := range conns {
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool {
		answer, err := http.Get(s.at + "/healthz")
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == 200
	}, 20*time.Second, 50*time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
	said := s.end(t)
	assert.Contains(t, said, "no connection can be accepted")
	assert.Contains(t, said, "too many open files")
}
