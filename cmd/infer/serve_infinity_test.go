//go:build load

package main

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// beginInfinity starts infinity_emb, by its Python, with a model in Hugging Face's layout.
func beginInfinity(t *testing.T, program, model string) (at string, pid int) {
	port := campaign.FreePort(t)
	cmd := exec.Command(program, "-c", "from infinity_emb.cli import cli; cli()", "v2", "--model-id", model, "--served-model-name", "clip", "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--batch-size", "32",
		"--host", "127.0.0.1", "--port", port, "--log-level", "warning", "--no-model-warmup")
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "DO_NOT_TRACK=1", "INFINITY_ANONYMOUS_USAGE_STATS=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(t.TempDir(), "infinity.log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		log.Close()
	})
	at = "http://127.0.0.1:" + port
	healthy := func() bool {
		answer, err := http.Get(at + "/health")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	}
	for start := time.Now(); !healthy(); time.Sleep(200 * time.Millisecond) {
		if time.Since(start) > 3*time.Minute {
			t.Fatalf("infinity does not answer: %s", readFile(t, log.Name()))
		}
	}
	return at, cmd.Process.Pid
}

// side is one of two servers, and what its turns came to.
type side struct {
	*clients
	pid   int
	rates []float64 // requests a second, of each turn
	cpu   float64   // seconds that the server took of the CPU
	outcome
}

func newSide(at string, pid int) *side {
	return &side{clients: newClients(at), pid: pid, outcome: outcome{seconds: map[int][]float64{}}}
}

// turn has 32 clients ask for a time, without a pause.
func (s *side) turn(t *testing.T, length time.Duration, request func(i int64) []byte) {
	before, begun, used := len(s.seconds[http.StatusOK]), time.Now(), cpuOf(t, s.pid)
	var all sync.WaitGroup
	var count atomic.Int64
	for range 32 {
		all.Go(func() {
			for time.Since(begun) < length {
				s.ask(request(count.Add(1)), &s.outcome)
			}
		})
	}
	all.Wait()
	s.close() // a server closes what is idle during the other's turn
	s.cpu += cpuOf(t, s.pid) - used
	s.rates = append(s.rates, float64(len(s.seconds[http.StatusOK])-before)/time.Since(begun).Seconds())
}

// captions are of the lengths that people write under photographs, 7 to 20 tokens. newCaption changes the
// words in capitals, so that hardly any text comes twice.
var captions = strings.Split(`COLOUR THING and a THING|a COLOUR THING next to a THING|a photo of a COLOUR THING in front of a THING|a COLOUR THING and a COLOUR THING on the THING|two people and a COLOUR THING in front of the THING in the evening|a COLOUR THING that stands on the street while a THING and a COLOUR THING pass behind it|the COLOUR THING with the THING|a man holds a COLOUR THING at the THING`, "|")

var captionWords = map[string][]string{
	"COLOUR": strings.Fields("red green yellow white black blue grey brown wooden shiny old new broken striped wet golden small large tiny huge long narrow heavy round empty dirty clean bright dark plain"),
	"THING":  strings.Fields("dog cat bicycle boat table house bird bottle horse train lamp bridge umbrella guitar plate chair window door tree flower car truck bus ball cup book phone clock fence tower stone box basket ladder kite bench sofa bed cake pizza"),
}

func newCaption(seed int64) string {
	draw := rand.New(rand.NewPCG(uint64(seed), 0))
	words := strings.Fields(captions[draw.IntN(len(captions))])
	for i, word := range words {
		if list := captionWords[word]; list != nil {
			words[i] = list[draw.IntN(len(list))]
		}
	}
	return strings.Join(words, " ")
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// TestBesideInfinity asks infer serve and infinity (GOCLIP_INFINITY) by turns, with the same model
// (GOCLIP_LOAD_MODEL) and the same requests: 32 clients, an image, a new text of 33 tokens or a new caption a request.
// GOCLIP_INFINITY_OUT gets the table.
func TestBesideInfinity(t *testing.T) {
	program, model := os.Getenv("GOCLIP_INFINITY"), os.Getenv("GOCLIP_LOAD_MODEL")
	require.NotEmpty(t, program, "make infinity sets GOCLIP_INFINITY")
	hf := filepath.Join(t.TempDir(), "hf")
	code, _, errs := infer(t, "", "convert", "--to", "hf", model, hf)
	require.Zero(t, code, errs)
	theirs, pid := beginInfinity(t, program, hf)
	ours := begin(t, "--model", model, "--alias", "clip", "--quiet")

	var pictures []string
	for _, name := range loadImages {
		kind := "image/" + strings.NewReplacer("jpg", "jpeg").Replace(strings.TrimPrefix(filepath.Ext(name), "."))
		pictures = append(pictures, "data:"+kind+";base64,"+base64.StdEncoding.EncodeToString(readFile(t, testImage(name))))
	}
	length := time.Duration(campaign.FromEnv(t, "GOCLIP_LOAD_SECONDS", 15)) * time.Second
	var table strings.Builder
	fmt.Fprintf(&table, "| 32 clients, one input a request, %s a turn | goclip | infinity | ratio, median of pairs | of all pairs |\n|---|---|---|---|---|\n", length)
	for _, kind := range []string{"image", "text", "caption"} {
		a, b := newSide(ours.at, ours.cmd.Process.Pid), newSide(theirs, pid)
		ask := func(s *side, length time.Duration) {
			ready := make([][]byte, len(pictures))
			for i, picture := range pictures {
				ready[i] = s.request("/embeddings", fmt.Appendf(nil, `{"model":"clip","modality":"image","encoding_format":"base64","input":[%q]}`, picture))
			}
			turn := time.Now().UnixNano()
			s.turn(t, length, func(i int64) []byte {
				if kind == "image" {
					return ready[int(i)%len(ready)]
				}
				text := fmt.Sprintf("the picture %d of a dog on the beach, turn %d", i, turn) // of 33 tokens each
				if kind == "caption" {
					text = newCaption(turn + i)
				}
				return s.request("/embeddings", fmt.Appendf(nil, `{"model":"clip","modality":"text","encoding_format":"base64","input":[%q]}`, text))
			})
		}
		for _, s := range []*side{a, b} { // warm, and not counted
			ask(s, 3*time.Second)
			s.rates, s.seconds, s.cpu = nil, map[int][]float64{}, 0
		}
		var ratios []float64
		for i := range campaign.FromEnv(t, "GOCLIP_INFINITY_PAIRS", 3) {
			ask(a, length)
			ask(b, length)
			ratios = append(ratios, a.rates[i]/b.rates[i])
		}
		assert.Zero(t, a.errors())
		assert.Zero(t, b.errors())
		fmt.Fprintf(&table, "| %ss per second | %.1f | %.1f | %.2f | %.2f to %.2f |\n", kind, median(a.rates), median(b.rates), median(ratios), slices.Min(ratios), slices.Max(ratios))
		x, y := 1e3*a.cpu/float64(len(a.seconds[200])), 1e3*b.cpu/float64(len(b.seconds[200]))
		fmt.Fprintf(&table, "| CPU time of the server for each %s | %.1f ms | %.1f ms | %.2f | |\n", kind, x, y, x/y)
		for _, q := range []float64{0.5, 0.99} {
			x, y := 1e3*a.quantile(200, q), 1e3*b.quantile(200, q)
			fmt.Fprintf(&table, "| %s, p%.0f | %.0f ms | %.0f ms | %.2f | |\n", kind, 100*q, x, y, x/y)
		}
	}
	ours.end(t)
	t.Log("\n" + table.String())
	if out := os.Getenv("GOCLIP_INFINITY_OUT"); out != "" && !t.Failed() {
		head := fmt.Sprintf("goclip beside infinity, %s\n%s, make infinity: ViT-B/32 with random weights, float32, the same requests to /embeddings, by turns in one run.\n\n",
			time.Now().Format(time.DateOnly), machine(t))
		require.NoError(t, os.WriteFile(out, []byte(head+table.String()), 0o644))
	}
}

// machine is the processor's name and how many there are.
func machine(t *testing.T) string {
	info := string(readFile(t, "/proc/cpuinfo"))
	_, rest, _ := strings.Cut(info, "model name")
	name, _, _ := strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
	return fmt.Sprintf("%s, %d CPUs", name, strings.Count(info, "model name"))
}
