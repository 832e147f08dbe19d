package train

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
)

// join makes this process one of those that the environment speaks of, or a group of one. The kernels of processes that
// share a machine share its CPUs, unless --threads says otherwise.
func (o *Options) join(ctx context.Context) (*distributed.Group, error) {
	device, err := torch.ParseDevice(o.Device)
	if err != nil {
		return nil, optionsError{fmt.Errorf("train: --device: %w", err)}
	}
	w, err := distributed.FromEnvironment()
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if host, port, _ := o.meeting(); host != "" {
		w.MasterAddr, w.MasterPort = host, port
	}
	if w.Size > 1 {
		name, err := w.Device(o.Device, device)
		if err == nil && name != o.Device {
			if device, err = torch.ParseDevice(name); err != nil {
				err = fmt.Errorf("each process of a host has its own, the one with LOCAL_RANK %d: %w, or --device cuda:0 where srun shows each process one device", w.LocalRank, err)
			}
		}
		if err != nil {
			return nil, optionsError{fmt.Errorf("train: --device: %w", err)}
		}
		o.Device = name
	}
	backend := o.DistBackend
	if backend == "" && device.Type == "cuda" && w.Size > 1 {
		backend = "nccl"
	}
	if o.Threads == 0 && w.LocalSize > 1 {
		o.Threads = max(1, torch.NumThreads()/w.LocalSize)
	}
	group, err := distributed.Init(ctx, w, distributed.Options{Backend: backend, Device: device})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ErrInterrupted
	case err != nil:
		return nil, fmt.Errorf("train: %w", err)
	}
	return group, nil
}

// meeting is where --dist-url lets the processes meet; no host leaves it to the environment.
func (o *Options) meeting() (host string, port int, err error) {
	if o.DistURL == "" || o.DistURL == "env://" {
		return "", 0, nil
	}
	u, err := url.Parse(o.DistURL)
	if err == nil && (u.Scheme != "tcp" || u.Hostname() == "" || u.Port() == "") {
		err = fmt.Errorf("%q is neither env:// nor tcp://HOST:PORT", o.DistURL)
	}
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(u.Port()); err != nil {
		return "", 0, fmt.Errorf("%s has no number for its port", net.JoinHostPort(u.Hostname(), u.Port()))
	}
	return u.Hostname(), port, nil
}

// agree gives every process rank 0's name of the run, which may hold the time, and its word on where to resume. All must
// have what they need by then: nothing is written before.
func (r *run) agree() error {
	names, err := r.group.Exchange([]byte(r.o.RunName(time.Now())))
	if err != nil {
		return err
	}
	r.o.Name = string(names[0])
	return nil
}

// first tells of the process that writes and reports.
func (r *run) first() bool { return r.group.Rank() == 0 }

// What rank 0 says while the others wait for it.
const (
	busy = iota
	done
	stopped // by a signal
)

// alone has rank 0 do what one process does for all, while the others wait. It tells them each minute that it is still at it.
func (r *run) alone(f func() error) error {
	if r.group.Size() == 1 {
		return f()
	}
	if !r.first() {
		for {
			said, err := r.group.Exchange(nil)
			switch {
			case err != nil:
				return err
			case said[0][0] == stopped:
				return ErrInterrupted
			case said[0][0] == done:
				return nil
			}
		}
	}
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-end:
				ended <- nil
				return
			case <-time.After(time.Minute):
				if _, err := r.group.Exchange([]byte{busy}); err != nil {
					ended <- err
					return
				}
			}
		}
	}()
	err := f()
	close(end)
	if failed := <-ended; failed != nil {
		return errors.Join(err, failed)
	}
	word := byte(done)
	if errors.Is(err, ErrInterrupted) {
		word = stopped
	} else if err != nil {
		return err
	}
	if _, failed := r.group.Exchange([]byte{word}); failed != nil {
		return failed
	}
	return err
}

// equalise has every process begin with rank 0's weights and statistics, bit for bit.
func (r *run) equalise() error {
	if r.group.Size() == 1 {
		return nil
	}
	return torch.NoGrad(func(s *torch.Scope) {
		for _, t := range r.model.State() {
			r.group.Broadcast(s.Alias(t), 0)
		}
	})
}

// restoreGenerator takes up this process's of them. Where a run goes on in another number of processes they have no meaning;
// each then begins anew from the seed and the step.
func (r *run) restoreGenerator() error {
	if len(r.state.RNG) != r.group.Size() {
		torch.ManualSeed(r.o.Seed + uint64(r.state.Step)<<16 + uint64(r.group.Rank()))
		return nil
	}
	return torch.SetRNGState(r.device, r.state.RNG[r.group.Rank()])
}
