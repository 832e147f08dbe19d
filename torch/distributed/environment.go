package distributed

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/goclip/goclip/torch"
)

// World says which process of how many this one is, and where they meet.
type World struct {
	Rank      int // of Size
	Size      int
	LocalRank int // of LocalSize, on this host: the index of the CUDA device
	LocalSize int // 1 where it is not known

	MasterAddr string // rank 0's host
	MasterPort int    // of the store there

	// Whether the launcher serves the store, as torchrun does; otherwise rank 0 serves it. Restart counts the launcher's
	// starts, so that what an earlier start left in its store is not taken for this one's.
	LauncherStore bool
	Restart       int
}

// FromEnvironment reads the variables of torchrun (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR,
// MASTER_PORT; https://docs.pytorch.org/docs/stable/elastic/run.html) or, where these are not set, of Slurm's srun
// (SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID; the master is MASTER_ADDR or the first host of SLURM_JOB_NODELIST, the port
// MASTER_PORT or one made of SLURM_JOB_ID). It is a world of one if neither is there. An error names the variable.
func FromEnvironment() (World, error) { return fromEnvironment(os.Getenv, true) }

// PlaceFromEnvironment is [FromEnvironment] for processes that share work and never meet: no master is asked for.
func PlaceFromEnvironment() (World, error) { return fromEnvironment(os.Getenv, false) }

func fromEnvironment(getenv func(string) string, meet bool) (World, error) {
	e := environment{getenv: getenv}
	var w World
	switch {
	case getenv("RANK") != "" || getenv("WORLD_SIZE") != "":
		w = World{Rank: e.number("RANK"), Size: e.number("WORLD_SIZE"), LocalRank: e.number("LOCAL_RANK"), LocalSize: 1}
		if getenv("LOCAL_WORLD_SIZE") != "" {
			w.LocalSize = e.number("LOCAL_WORLD_SIZE")
		}
		w.LauncherStore = strings.EqualFold(getenv("TORCHELASTIC_USE_AGENT_STORE"), "true")
		if getenv("TORCHELASTIC_RESTART_COUNT") != "" {
			w.Restart = e.number("TORCHELASTIC_RESTART_COUNT")
		}
		if w.Size > 1 && meet {
			w.MasterAddr, w.MasterPort = e.text("MASTER_ADDR"), e.number("MASTER_PORT")
		}
	case getenv("SLURM_PROCID") != "" && getenv("SLURM_NTASKS") != "" && getenv("SLURM_NTASKS") != "1":
		w = World{Rank: e.number("SLURM_PROCID"), Size: e.number("SLURM_NTASKS"), LocalRank: e.number("SLURM_LOCALID"), LocalSize: 1}
		if meet {
			e.slurmMaster(&w)
		}
	default:
		return World{Size: 1, LocalSize: 1}, nil
	}
	if len(e.missing) > 0 {
		e.fault("of the variables, %s %s missing: start the processes by torchrun or srun, or by the launcher of cmd/train",
			strings.Join(e.missing, ", "), map[bool]string{true: "is", false: "are"}[len(e.missing) == 1])
	}
	if len(e.faults) > 0 {
		return World{}, errors.New(strings.Join(e.faults, "; "))
	}
	return w, w.check(meet)
}

// slurmMaster is where the processes of a Slurm job meet.
func (e *environment) slurmMaster(w *World) {
	if w.MasterAddr = e.getenv("MASTER_ADDR"); w.MasterAddr == "" {
		w.MasterAddr = e.firstHost()
	}
	if e.getenv("MASTER_PORT") != "" {
		w.MasterPort = e.number("MASTER_PORT")
	} else {
		w.MasterPort = 15000 + e.number("SLURM_JOB_ID")%10000
	}
}

// Device names this process's device among those of its host: cuda:LOCAL_RANK, where name, which has found a CUDA device,
// names none by its number. One that it names is for a host with one process.
func (w World) Device(name string, found torch.Device) (string, error) {
	switch {
	case found.Type != "cuda":
		return name, nil
	case !strings.Contains(name, ":"):
		return fmt.Sprintf("cuda:%d", w.LocalRank), nil
	case w.LocalSize > 1:
		return "", fmt.Errorf("%s is one device, and this host has %d processes, each of which needs its own; cuda gives process N device N", name, w.LocalSize)
	}
	return name, nil
}

// check refuses numbers that make no world.
func (w World) check(meet bool) error {
	switch {
	case w.Size < 1:
		return fmt.Errorf("a world of %d processes (WORLD_SIZE, SLURM_NTASKS): must be at least 1", w.Size)
	case w.Rank < 0 || w.Rank >= w.Size:
		return fmt.Errorf("the rank %d (RANK, SLURM_PROCID) is not one of %d processes: 0 to %d are", w.Rank, w.Size, w.Size-1)
	case w.LocalRank < 0:
		return fmt.Errorf("the local rank %d (LOCAL_RANK, SLURM_LOCALID) is negative", w.LocalRank)
	case w.LocalSize < 1 || w.LocalSize > w.Size:
		return fmt.Errorf("LOCAL_WORLD_SIZE is %d: must be between 1 and WORLD_SIZE, which is %d", w.LocalSize, w.Size)
	case w.Size > 1 && meet && (w.MasterPort < 1 || w.MasterPort > 65535):
		return fmt.Errorf("the port %d (MASTER_PORT): must be between 1 and 65535", w.MasterPort)
	}
	return nil
}

// environment reads variables and collects what is wrong with them.
type environment struct {
	getenv  func(string) string
	missing []string
	faults  []string
}

func (e *environment) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Sprintf(format, args...))
}

func (e *environment) text(name string) string {
	text := e.getenv(name)
	if text == "" {
		e.missing = append(e.missing, name)
	}
	return text
}

func (e *environment) number(name string) int {
	text := e.text(name)
	n, err := strconv.Atoi(text)
	if err != nil && text != "" {
		e.fault("the variable %s is %q, which is not a number", name, text)
	}
	return n
}

// firstHost is the first host of Slurm's list: node[003-006,009],gpu1 begins with node003.
func (e *environment) firstHost() string {
	list := e.getenv("SLURM_JOB_NODELIST")
	if list == "" {
		e.fault("the variable MASTER_ADDR is missing, and there is no SLURM_JOB_NODELIST to take the first host of")
		return ""
	}
	head, rest, ranged := strings.Cut(list, "[")
	if host, _, many := strings.Cut(head, ","); many || !ranged {
		return host
	}
	numbers, tail, closed := strings.Cut(rest, "]")
	if !closed {
		e.fault("the variable SLURM_JOB_NODELIST is %q, which is not a list of hosts; set MASTER_ADDR", list)
		return ""
	}
	tail, _, _ = strings.Cut(tail, ",")
	return head + numbers[:strings.IndexAny(numbers+",", ",-")] + tail
}
