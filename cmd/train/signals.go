package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// asking are the signals after which a run writes a checkpoint and continues: what a scheduler warns
// with (Slurm's --signal=USR1@120), and the end of the log's reader.
var asking = []os.Signal{syscall.SIGUSR1, syscall.SIGPIPE}

// ending are those that end it after the step that is being done, with a checkpoint. nohup has a
// process ignore the hangup, and so do we then.
func ending() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}

// interrupts is a context that ends with the first signal that ends a run, and the signals that ask
// for a checkpoint. A second Ctrl-C ends the process at once; a second SIGTERM, which schedulers
// send to every process of a job and their launchers pass on, changes nothing.
func interrupts() (ctx context.Context, asked <-chan os.Signal, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ends, asks := make(chan os.Signal, 4), make(chan os.Signal, 1)
	signal.Notify(ends, ending()...)
	signal.Notify(asks, asking...)
	go func() {
		for s := range ends {
			cancel()
			if s == os.Interrupt {
				signal.Reset(os.Interrupt)
			}
		}
	}()
	return ctx, asks, func() {
		signal.Stop(ends)
		signal.Stop(asks)
		close(ends)
		cancel()
	}
}
