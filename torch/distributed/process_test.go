package distributed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/campaign"
	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// asRank names what a process does that a test started from its own binary.
const asRank = "GOCLIP_TEST_RANK"

// tasks are what the ranks of the tests do.
var tasks = map[string]func(*Group) error{
	"collectives": collectives, "gather": gatherGradients, "reduce": reduceGradients, "wait": waitForever, "shape": differentShapes,
	"errors": toldErrors, "timeout": oneStaysAway, "leave": leaveEarly,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(asRank); name != "" {
		if err := beRank(tasks[name]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// device is where a rank's tensors are: the CPU, or with BACKEND=nccl the GPU of its own.
var device = torch.CPU

func beRank(task func(*Group) error) error {
	torch.SetNumThreads(1)
	w, err := FromEnvironment()
	if err != nil {
		return err
	}
	o := Options{Backend: os.Getenv("BACKEND")}
	if o.Backend == "nccl" {
		device = torch.Device{Type: "cuda", Index: w.LocalRank}
		o.Device = device
	}
	if text := os.Getenv("TIMEOUT"); text != "" {
		if o.Timeout, err = time.ParseDuration(text); err != nil {
			return err
		}
	}
	if text := os.Getenv("SILENCE"); text != "" {
		if o.Silence, err = time.ParseDuration(text); err != nil {
			return err
		}
	}
	live := settled.Count(torch.LiveTensors)
	g, err := Init(context.Background(), w, o)
	if err != nil {
		return err
	}
	if err := task(g); err != nil {
		err = g.Fail(err)
		_ = g.Close()
		return err
	}
	if err := g.Close(); err != nil {
		return err
	}
	if now := torch.LiveTensors(); now != live {
		return fmt.Errorf("%d tensors are left", now-live)
	}
	return nil
}

// rank is a process of a test.
type rank struct {
	*exec.Cmd
	out bytes.Buffer
}

// start starts the ranks of a world, but those that the test leaves out.
func start(t *testing.T, size int, task string, set map[string]string, without ...int) []*rank {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	port := campaign.FreePort(t)
	ranks := make([]*rank, size)
	for i := range ranks {
		r := &rank{Cmd: exec.CommandContext(ctx, os.Args[0])}
		r.Env = append(os.Environ(), asRank+"="+task, "RANK="+strconv.Itoa(i), "WORLD_SIZE="+strconv.Itoa(size), "LOCAL_RANK="+strconv.Itoa(i),
			"MASTER_ADDR=127.0.0.1", "MASTER_PORT="+port)
		for name, value := range set {
			r.Env = append(r.Env, name+"="+value)
		}
		r.Stdout, r.Stderr = &r.out, &r.out
		ranks[i] = r
		skip := false
		for _, k := range without {
			skip = skip || k == i
		}
		if !skip {
			require.NoError(t, r.Start())
		}
	}
	return ranks
}

// well waits for a rank that is expected to do its task, and to say nothing.
func (r *rank) well(t *testing.T) {
	t.Helper()
	assert.NoError(t, r.Wait(), "%s", &r.out)
	assert.Empty(t, r.out.String())
}

// fails waits for a rank that is expected to end with one line, which says want.
func (r *rank) fails(t *testing.T, want string) {
	t.Helper()
	assert.Error(t, r.Wait())
	assert.Equal(t, 1, r.ProcessState.ExitCode(), "%s: %s", r.ProcessState, &r.out)
	lines := strings.Split(strings.TrimSpace(r.out.String()), "\n")
	assert.Len(t, lines, 1, "%s", &r.out)
	assert.Contains(t, lines[len(lines)-1], want)
}
