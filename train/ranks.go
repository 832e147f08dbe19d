package train

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"

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
	backend := o.DistBackend
	if backend == "" && device.Type == "cuda" && w.Size > 1 {
		backend = "nccl"
	}
	if o.Threads == 0 && w.LocalSize > 1 {
		o.Threads = max(1, torch.NumThreads()/w.LocalSize)
	}
	group, err := distributed.Init(ctx, w, distributed.Options{Backend: backend})
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
