package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
)

// asWorker makes the processes that the launcher starts do worker in place of a training; its value
// says what goes wrong.
const asWorker = "GOCLIP_TEST_AS_WORKER"

const workerSteps = 6

// worker counts its steps by a sum over all ranks and keeps the count in a file of its directory,
// where a restart with --resume latest continues.
func worker(fault string) error {
	w, err := distributed.FromEnvironment()
	if err != nil {
		return err
	}
	g, err := distributed.Init(context.Background(), w, distributed.Options{})
	if err != nil {
		return err
	}
	err = work(g, w, fault)
	if err != nil {
		err = g.Fail(err)
	}
	return errors.Join(err, g.Close())
}

func work(g *distributed.Group, w distributed.World, fault string) error {
	interrupt, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	file := filepath.Join(os.Getenv("DIR"), "latest")
	steps := 0
	if slices.Contains(os.Args, "--resume") {
		text, err := os.ReadFile(file)
		if err == nil {
			steps, err = strconv.Atoi(string(text))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "rank %d of %d begins at step %d: %s\n", g.Rank(), g.Size(), steps, strings.Join(os.Args[1:], " "))
	for steps < workerSteps {
		if steps == 3 && g.Rank() == 1 && w.Restart == 0 {
			switch fault {
			case "killed":
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			case "fails":
				return errors.New("the disk is full")
			}
		}
		if fault == "always" && g.Rank() == 1 {
			return errors.New("no memory")
		}
		if fault == "interrupted" && g.Rank() == 0 && steps == 3 {
			_ = syscall.Kill(os.Getppid(), syscall.SIGINT)
		}
		if fault == "interrupted" || fault == "endless" {
			steps = min(steps, 4) // until the signal comes
		}
		var sum float64
		err := torch.Do(func(s *torch.Scope) {
			one := torch.FromSlice(s, []float32{1}, 1)
			g.AllReduce(one)
			sum = one.Item()
		})
		if err != nil {
			return err
		}
		if sum != float64(g.Size()) {
			return fmt.Errorf("the sum of %d ranks is %g", g.Size(), sum)
		}
		steps++
		stop, err := g.Any(interrupt.Err() != nil)
		if err != nil {
			return err
		}
		if stop {
			_ = g.Close()
			os.Exit(130)
		}
		if g.Rank() == 0 {
			if err := os.WriteFile(file, []byte(strconv.Itoa(steps)), 0o644); err != nil {
				return err
			}
		}
		if err := g.Barrier(); err != nil {
			return err
		}
	}
	return nil
}

// launched runs the launcher as a process with workers of the given fault.
func launched(t *testing.T, fault string, args ...string) (code int, errs, dir string) {
	t.Helper()
	dir = t.TempDir()
	c := process(append([]string{"--model", "emoji-64", "--train-data", "x.csv"}, args...)...)
	c.Env = append(c.Env, asWorker+"="+fault, "DIR="+dir)
	var b bytes.Buffer
	c.Stderr = &b
	_ = c.Run()
	noTrace(t, b.String())
	return c.ProcessState.ExitCode(), b.String(), dir
}

func TestLaunch(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	died := "rank 1 on " + host + ": it ended without a word: it was killed, or it crashed"
	for _, c := range []struct {
		name, fault string
		args        []string
		code        int
		says        []string
		never       string
	}{
		{"two", "none", []string{"--nproc-per-node", "2"}, 0, []string{"[rank 1] rank 1 of 2 begins at step 0: --model emoji-64 --train-data x.csv --name "}, "--nproc"},
		{"four", "none", []string{"--nproc-per-node=4", "--name", "mine"}, 0, []string{"[rank 3] rank 3 of 4 begins at step 0", "--name mine\n"}, "fail"},
		{"one killed", "killed", []string{"--nproc-per-node", "2", "--max-restarts", "0"}, 1,
			[]string{died, "train: rank 0 ended with status 1, rank 1 was ended by the signal killed\n"}, "restart"},
		{"killed and restarted", "killed", []string{"--nproc-per-node", "2", "--max-restarts=2"}, 0,
			[]string{died, "rank 1 was ended by the signal killed; restart 1 of 2 resumes from the latest checkpoint\n", "rank 0 of 2 begins at step 3: ", " --resume latest\n"}, "restart 2"},
		{"an error and a restart", "fails", []string{"--nproc-per-node", "4", "--max-restarts", "1"}, 0,
			[]string{"rank 1 on " + host + ": the disk is full\n", "[rank 3] rank 1 on " + host + ": the disk is full\n", "rank 3 of 4 begins at step 3"}, "signal"},
		{"restarts at their end", "always", []string{"--nproc-per-node", "2", "--max-restarts", "2"}, 1,
			[]string{"no memory", "restart 2 of 2", "train: rank 0 ended with status 1, rank 1 ended with status 1\n"}, "restart 3"},
		{"interrupted", "interrupted", []string{"--nproc-per-node", "2", "--max-restarts", "2"}, 130, []string{"rank 0 of 2 begins"}, "ended"},
		{"by a file and the environment", "none", []string{"--name", "mine"}, 0, []string{"[rank 1] rank 1 of 2 begins at step 0: --lr=2 --epochs=3 --model emoji-64 --train-data x.csv --name mine\n"}, "--config"},
		{"one process, restarted", "none", []string{"--max-restarts", "1"}, 0, []string{"rank 0 of 1 begins"}, "[rank"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "by a file and the environment" {
				t.Setenv("GOCLIP_CONFIG", configOf(t, "nproc-per-node: 2\nlr: 2"))
				t.Setenv("GOCLIP_EPOCHS", "3")
			}
			code, errs, dir := launched(t, c.fault, c.args...)
			assert.Equal(t, c.code, code, errs)
			for _, says := range c.says {
				assert.Contains(t, errs, says)
			}
			assert.NotContains(t, errs, c.never)
			if c.code == 0 {
				text, err := os.ReadFile(filepath.Join(dir, "latest"))
				require.NoError(t, err)
				assert.Equal(t, strconv.Itoa(workerSteps), string(text))
			}
		})
	}
}

// TestLauncherDies kills the launcher, whose processes then end too: nobody has the launcher's
// stderr open any more.
func TestLauncherDies(t *testing.T) {
	c := process("--model", "emoji-64", "--train-data", "x.csv", "--nproc-per-node", "2")
	c.Env = append(c.Env, asWorker+"=endless", "DIR="+t.TempDir())
	stderr, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	for begun, lines := 0, bufio.NewScanner(stderr); begun < 2; begun++ {
		require.True(t, lines.Scan())
		require.Contains(t, lines.Text(), "begins at step 0")
	}
	require.NoError(t, c.Process.Kill())
	_, err = io.ReadAll(stderr)
	require.NoError(t, err)
	_ = c.Wait()
}

func TestLaunchRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  string
		says string
	}{
		{[]string{"--nproc-per-node", "0"}, "", "train: --nproc-per-node 0: must be between 1 and 1024"},
		{[]string{"--max-restarts", "-1"}, "", "train: --max-restarts -1 is negative"},
		{[]string{"--nproc-per-node", "2"}, "RANK", "--nproc-per-node and --max-restarts start processes, but RANK is set"},
		{[]string{"--nproc-per-node", "2", "--epochs", "0"}, "", "train: --epochs 0: must be at least 1"},
		{[]string{"--dist-url", "file:///x"}, "", `--dist-url: "file:///x" is neither env:// nor tcp://HOST:PORT`},
		{[]string{"--dist-backend", "mpi"}, "", `--dist-backend "mpi": must be one of gloo, nccl`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			if c.env != "" {
				t.Setenv(c.env, "0")
			}
			code, out, errs := command(t, append([]string{"--model", "emoji-64", "--train-data", "x.csv"}, c.args...)...)
			assert.Equal(t, 2, code)
			assert.Empty(t, out)
			assert.Contains(t, errs, c.says)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
		})
	}
}
