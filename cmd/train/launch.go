package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/goclip/goclip/torch/distributed"
)

// launchFlags are those of the process that starts the others; torchrun has flags of these names
// and meanings.
type launchFlags struct {
	NprocPerNode int `name:"nproc-per-node" aliases:"nproc_per_node" default:"1" group:"processes" help:"Train in this many processes on this machine, each on a part of every batch. For several machines use torchrun or srun."`
	MaxRestarts  int `name:"max-restarts" aliases:"max_restarts" group:"processes" help:"Restart all processes from the latest checkpoint this many times when one fails."`
}

// grace is how long the processes have to end by themselves after one has failed: each still says
// why.
const grace = 10 * time.Second

func (f launchFlags) wanted() bool { return f.NprocPerNode != 1 || f.MaxRestarts != 0 }

func (f launchFlags) check() error {
	switch {
	case f.NprocPerNode < 1 || f.NprocPerNode > 1024:
		return fmt.Errorf("--nproc-per-node %d: must be between 1 and 1024", f.NprocPerNode)
	case f.MaxRestarts < 0:
		return fmt.Errorf("--max-restarts %d is negative", f.MaxRestarts)
	case f.wanted() && os.Getenv("RANK") != "":
		return errors.New("--nproc-per-node and --max-restarts start processes, but RANK is set: torchrun or srun has started them already; drop the flags, or unset RANK")
	}
	return nil
}

// launchAll starts the processes with the same command line, which has what the environment and
// --config say, but for the flags of launching.
func (c *commandLine) launchAll(args, environ []string, given func(flag string) bool, out io.Writer, errs *os.File) int {
	if err := errors.Join(c.launchFlags.check(), c.check(given)); err != nil {
		fmt.Fprintf(errs, "%s; train --help lists the flags\n", message(err))
		return 2
	}
	args = withoutLaunchFlags(args)
	if c.Name == "" { // it holds the time: every process, and every restart, is of one run
		args = append(args, "--name", c.runName(time.Now()))
	}
	return c.launch(args, environ, out, errs)
}

// withoutLaunchFlags drops --nproc-per-node N, --max-restarts=N and --config FILE, in either form.
func withoutLaunchFlags(args []string) (rest []string) {
	for i := 0; i < len(args); i++ {
		name, _, joined := strings.Cut(args[i], "=")
		if !slices.Contains([]string{"--nproc-per-node", "--max-restarts", "--config"}, strings.ReplaceAll(name, "_", "-")) {
			rest = append(rest, args[i])
		} else if !joined {
			i++ // its number
		}
	}
	return rest
}

// launch runs args as the command line of every process until all have done their work, and returns
// the exit status. One that was interrupted, or whose command line is wrong, is not started again.
func (f launchFlags) launch(args, environ []string, out io.Writer, errs *os.File) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, ending()...)
	signal.Notify(signals, asking...)
	defer signal.Stop(signals)
	runtime.LockOSThread() // Pdeathsig is sent when the thread ends that has started the process
	defer runtime.UnlockOSThread()
	for restart := 0; ; restart++ {
		j, err := start(f.NprocPerNode, restart, args, environ, out, errs)
		if err != nil {
			fmt.Fprintln(errs, message(err))
			return 1
		}
		status := j.wait(signals)
		if status != 1 {
			return status
		}
		if restart == f.MaxRestarts {
			fmt.Fprintf(errs, "train: %s\n", j.failures())
			return 1
		}
		fmt.Fprintf(errs, "train: %s; restart %d of %d resumes from the latest checkpoint\n", j.failures(), restart+1, f.MaxRestarts)
		if restart == 0 {
			args = append(slices.Clone(args), "--resume", "latest")
		}
	}
}

// job is the processes of one start, by rank, and the store at which they meet.
type job struct {
	ranks []*exec.Cmd
	store *distributed.Store
	ended chan int // ranks, as they end
}

func start(n, restart int, args, environ []string, out io.Writer, errs *os.File) (*job, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	store, err := distributed.Serve(0)
	if err != nil {
		return nil, err
	}
	j := &job{store: store, ended: make(chan int, n)}
	for rank := range n {
		c := exec.Command(program, args...)
		c.Env = append(slices.Clone(environ), fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("LOCAL_RANK=%d", rank), fmt.Sprintf("WORLD_SIZE=%d", n),
			fmt.Sprintf("LOCAL_WORLD_SIZE=%d", n), "MASTER_ADDR=127.0.0.1", fmt.Sprintf("MASTER_PORT=%d", store.Port),
			"TORCHELASTIC_USE_AGENT_STORE=True", fmt.Sprintf("TORCHELASTIC_RESTART_COUNT=%d", restart))
		// In a group of their own the terminal's Ctrl-C does not reach them a second time; they do
		// not outlive this process.
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
		c.Stdout, c.Stderr = out, errs
		if rank > 0 {
			prefix := fmt.Sprintf("[rank %d] ", rank)
			c.Stdout, c.Stderr = &prefixed{to: out, prefix: prefix}, &prefixed{to: errs, prefix: prefix}
		}
		if err := c.Start(); err != nil {
			for _, other := range j.ranks {
				_ = other.Process.Kill()
			}
			return nil, err
		}
		j.ranks = append(j.ranks, c)
		go func() {
			_ = c.Wait() // ProcessState tells
			j.ended <- rank
		}()
	}
	return j, nil
}

// wait returns when all processes have ended: 0 when all have done their work, the status of a
// command line that is wrong or of an interruption, else 1. Once one has failed, the others have
// the grace to end by themselves.
func (j *job) wait(signals <-chan os.Signal) int {
	defer j.store.Close()
	var late <-chan time.Time
	status := 0
	for left := len(j.ranks); left > 0; {
		select {
		case s := <-signals:
			if s != syscall.SIGPIPE { // which each gets on its own
				j.signal(s)
			}
		case <-late:
			j.signal(os.Kill)
		case rank := <-j.ended:
			left--
			switch code := j.ranks[rank].ProcessState.ExitCode(); {
			case code == 0:
			case (code == 2 || code == 130) && (status == 0 || status == code):
				status = code
			default:
				status = 1
			}
			if status != 0 && status != 130 && late == nil {
				late = time.After(grace)
			}
		}
	}
	return status
}

func (j *job) signal(s os.Signal) {
	for _, c := range j.ranks {
		_ = c.Process.Signal(s) // one that has ended hears nothing
	}
}

// failures says which processes did not do their work: "rank 0 ended with status 1, rank 1 was
// ended by the signal killed".
func (j *job) failures() string {
	var list []string
	for rank, c := range j.ranks {
		if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			list = append(list, fmt.Sprintf("rank %d was ended by the signal %s", rank, status.Signal()))
		} else if code := c.ProcessState.ExitCode(); code != 0 {
			list = append(list, fmt.Sprintf("rank %d ended with status %d", rank, code))
		}
	}
	return strings.Join(list, ", ")
}

// prefixed writes whole lines, each behind a prefix.
type prefixed struct {
	to     io.Writer
	prefix string
	line   []byte
}

func (p *prefixed) Write(text []byte) (int, error) {
	p.line = append(p.line, text...)
	for {
		end := bytes.IndexByte(p.line, '\n')
		if end < 0 {
			return len(text), nil
		}
		if _, err := fmt.Fprintf(p.to, "%s%s", p.prefix, p.line[:end+1]); err != nil {
			return 0, err
		}
		p.line = p.line[end+1:]
	}
}
