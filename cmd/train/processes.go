package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/train"
)

// join makes this process one of those that the environment speaks of, or a group of one. The
// kernels of processes that share a machine share its CPUs, unless --threads says otherwise.
func (o *options) join(ctx context.Context) (group *distributed.Group, device torch.Device, err error) {
	device, err = torch.ParseDevice(o.Device)
	if err != nil {
		return nil, device, refusal("--device: %v", err)
	}
	w, err := distributed.FromEnvironment()
	if err != nil {
		return nil, device, fmt.Errorf("train: %w", err)
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
			return nil, device, refusal("--device: %v", err)
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
	group, err = distributed.Init(ctx, w, distributed.Options{Backend: backend, Device: device})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, device, train.ErrInterrupted
	case err != nil:
		return nil, device, fmt.Errorf("train: %w", err)
	}
	return group, device, nil
}

// meeting is where --dist-url lets the processes meet; no host leaves it to the environment.
func (o *options) meeting() (host string, port int, err error) {
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

// agree gives every process process 0's name of the run, which may hold the time.
func (o *options) agree(group *distributed.Group) error {
	names, err := group.Exchange([]byte(o.runName(time.Now())))
	if err == nil {
		o.Name = string(names[0])
	}
	return err
}

// refusal is a fault of the command line.
func refusal(format string, args ...any) error {
	return &train.ConfigError{Faults: []string{fmt.Sprintf(format, args...)}}
}
