package distributed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

// waitForever sums for ever; a rank says so once the first sum is there.
func waitForever(g *Group) error {
	for first := true; ; first = false {
		if err := torch.Do(func(s *torch.Scope) { g.AllReduce(own(s, g.Rank(), torch.Float32, 1<<16)) }); err != nil {
			return err
		}
		if err := g.Check(); err != nil {
			return err
		}
		if first {
			if err := os.WriteFile(os.Getenv("READY")+"/"+fmt.Sprint(g.Rank()), nil, 0o644); err != nil {
				return err
			}
		}
	}
}

// TestDeadRank ends a rank in the midst of the collectives in several ways: each of the others names it.
func TestDeadRank(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		victim int
		signal syscall.Signal
		says   string
	}{
		{"killed", 1, syscall.SIGKILL, "it ended without a word: it was killed, or it crashed"},
		{"the first killed", 0, syscall.SIGKILL, "it ended without a word: it was killed, or it crashed"},
		{"terminated", 2, syscall.SIGTERM, "it ended without a word: it was killed, or it crashed"},
		{"stopped", 2, syscall.SIGSTOP, "it has been silent for 6s: its host is down, or the process is stopped"},
		{"the first stopped", 0, syscall.SIGSTOP, "it has been silent for 6s: its host is down, or the process is stopped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			ranks := start(t, 3, "wait", map[string]string{"READY": dir, "SILENCE": "6s"})
			for i := range ranks {
				require.Eventually(t, func() bool { _, err := os.Stat(fmt.Sprint(dir, "/", i)); return err == nil }, 2*time.Minute, 10*time.Millisecond)
			}
			require.NoError(t, ranks[c.victim].Process.Signal(c.signal))
			for i, r := range ranks {
				if i != c.victim {
					r.fails(t, fmt.Sprintf("rank %d on %s: %s", c.victim, host, c.says))
				}
			}
			_ = ranks[c.victim].Process.Kill()
			_ = ranks[c.victim].Wait()
		})
	}
}

// toldErrors lets rank 1 end with an error of its own while the others wait for it.
func toldErrors(g *Group) error {
	if g.Rank() == 1 {
		return errors.New("the disk is full")
	}
	err := torch.Do(func(s *torch.Scope) { g.AllReduce(own(s, g.Rank(), torch.Float32, 8)) })
	var op *torch.Error
	if !errors.As(err, &op) || op.Op != "all_reduce_" || !strings.Contains(op.Msg, "the disk is full") {
		return fmt.Errorf("not the error of an operator: %v", err)
	}
	<-g.Done()
	_, exchange := g.Exchange(nil)
	if exchange != g.Err() || g.Barrier() != g.Err() {
		return fmt.Errorf("an exchange in a failed group: %v", exchange)
	}
	return err
}

// oneStaysAway lets rank 1 come to no collective.
func oneStaysAway(g *Group) error {
	if g.Rank() == 1 {
		<-g.Done()
		return g.Err()
	}
	return torch.Do(func(s *torch.Scope) { g.AllReduce(own(s, g.Rank(), torch.Float32, 8)) })
}

// differentShapes gives the ranks tensors that do not fit one another.
func differentShapes(g *Group) error {
	err := torch.Do(func(s *torch.Scope) { g.ReduceScatter(own(s, 0, torch.Float32, 2*g.Size()+1)) })
	if err == nil || !strings.Contains(err.Error(), "the rows cannot be shared out evenly among 2 ranks") {
		return fmt.Errorf("reduce-scatter of an odd row: %v", err)
	}
	err = torch.Do(func(s *torch.Scope) {
		x := own(s, 0, torch.Float32, 4).SetRequiresGrad(true)
		g.AllReduce(x.MulScalar(2))
	})
	if err == nil || !strings.Contains(err.Error(), "would lose it") {
		return fmt.Errorf("all-reduce of a result with a gradient: %v", err)
	}
	return nil
}

// leaveEarly lets one rank end without Close, though well.
func leaveEarly(g *Group) error {
	if g.Rank() == 1 {
		os.Exit(0)
	}
	return nil
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name, task string
		set        map[string]string
		without    []int
		says       []string // by rank; nothing is no failure, "-" a rank that is not asked
	}{
		{"a rank's own error", "errors", nil, nil, []string{"rank 1 on", "rank 1 on", "rank 1 on"}},
		{"its words", "errors", nil, nil, []string{": the disk is full", ": the disk is full"}},
		{"too late", "timeout", map[string]string{"TIMEOUT": "5s"}, nil, []string{"not every rank took part within 5 s", "not every rank took part within 5 s"}},
		{"shapes", "shape", nil, nil, []string{"", ""}},
		{"gone without Close", "leave", nil, nil, []string{"rank 1 on", ""}},
		{"missing", "wait", map[string]string{"TIMEOUT": "5s"}, []int{1, 3}, []string{"rank 1: it did not join within 5s; of 4 processes, those of the ranks [1 3] are missing", "-", "rank 1: it did not join", "-"}},
		{"no rank 0", "wait", map[string]string{"TIMEOUT": "2s"}, []int{0}, []string{"-", "(MASTER_ADDR, MASTER_PORT) does not answer"}},
		{"an address of nobody", "wait", map[string]string{"MASTER_ADDR": "192.0.2.1", "TIMEOUT": "2s"}, []int{0}, []string{"-", "192.0.2.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, r := range start(t, len(c.says), c.task, c.set, c.without...) {
				switch c.says[i] {
				case "-":
				case "":
					r.well(t)
				default:
					r.fails(t, c.says[i])
				}
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = Init(t.Context(), World{Rank: 0, Size: 2, LocalSize: 1, MasterAddr: "127.0.0.1", MasterPort: port}, Options{})
	assert.ErrorContains(t, err, fmt.Sprintf("the port %d (MASTER_PORT) is in use on this host; set another", port))
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		world   World
		backend string
		says    string
	}{
		{World{}, "", "a world of 0 processes"},
		{World{Size: 2, Rank: 2, LocalSize: 1}, "", "the rank 2 (RANK, SLURM_PROCID) is not one of 2 processes"},
		{World{Size: 1}, "mpi", `the backend "mpi": must be one of gloo, nccl`},
	} {
		_, err := Init(t.Context(), c.world, Options{Backend: c.backend})
		assert.ErrorContains(t, err, c.says)
	}
}
