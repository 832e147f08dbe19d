package distributed

/*
#include <stdlib.h>
#include "../../csrc/goclip.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/goclip/goclip/torch"
)

// Options of [Init].
type Options struct {
	// Backend is gloo, for tensors on the CPU, or nccl, for CUDA, which the build tag cuda adds. Nothing is gloo.
	Backend string
	// Device is the one that nccl's tensors are on, another for each process of a host. gloo does not look at it.
	Device torch.Device
	// Timeout bounds the wait for the other ranks to join, and for them to take part in a collective: it must be longer
	// than what one rank may do alone, such as writing a checkpoint. 0 is 10 minutes.
	Timeout time.Duration
	// Silence is after how long a rank that says nothing counts as dead. A process that ends is noticed at once. 0 is 30
	// seconds.
	Silence time.Duration
}

// Group is the processes that train one model. Its methods belong to one goroutine, but for Done, Err and Fail.
type Group struct {
	world   World
	options Options
	number  C.int64_t // 0 in a world of one

	store *Store
	token string // with which the hub knows its own
	hub   *hub   // on rank 0
	link  *link
	hosts []string // of each rank

	mu        sync.Mutex
	failure   *RankError
	failed    chan struct{} // closed with failure
	closing   bool
	over      chan struct{} // closed when all ranks have said goodbye
	welcomed  chan frame
	exchanges chan frame
	seq       int
}

// RankError says which rank ended the group, and why.
type RankError struct {
	Rank   int
	Host   string // empty where the rank has never joined
	Reason string
}

// Error reads "rank 1 on node7: it ended without a word: it was killed, or it crashed".
func (e *RankError) Error() string {
	if e.Host == "" {
		return fmt.Sprintf("rank %d: %s", e.Rank, e.Reason)
	}
	return fmt.Sprintf("rank %d on %s: %s", e.Rank, e.Host, e.Reason)
}

// Init joins the group and returns when all ranks have. Ending ctx ends the wait. A world of one is a group at once.
func Init(ctx context.Context, w World, o Options) (*Group, error) {
	if w.Size == 1 {
		w.LocalSize = max(w.LocalSize, 1)
	}
	if err := w.check(true); err != nil {
		return nil, fmt.Errorf("distributed: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Silence == 0 {
		o.Silence = 30 * time.Second
	}
	switch o.Backend {
	case "", "gloo":
		o.Backend = "gloo"
	case "nccl":
		if err := checkNCCL(o.Device); err != nil {
			return nil, fmt.Errorf("distributed: %w", err)
		}
	default:
		return nil, fmt.Errorf("distributed: the backend %q: must be one of gloo, nccl", o.Backend)
	}
	g := &Group{world: w, options: o, failed: make(chan struct{}), over: make(chan struct{}), welcomed: make(chan frame, 1), exchanges: make(chan frame, 1)}
	if w.Size == 1 {
		return g, nil
	}
	if err := g.join(ctx); err != nil {
		err = g.Fail(err)
		g.hangUp()
		return nil, fmt.Errorf("distributed: %w", err)
	}
	return g, nil
}

// join meets the others: first at the store, by which they find the hub, then at the hub, and last in c10d's group.
func (g *Group) join(ctx context.Context) (err error) {
	w, o := g.world, g.options
	if w.Rank == 0 && !w.LauncherStore {
		g.store, err = Serve(w.MasterPort)
	} else {
		g.store, err = connect(ctx, w.MasterAddr, w.MasterPort, o.Timeout)
	}
	if err != nil {
		return err
	}
	address, err := g.openHub(ctx)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{Timeout: o.Silence}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("rank 0 does not answer: %w", err)
	}
	g.link = newLink(conn, o.Silence)
	go g.listen()
	go g.beat()
	g.link.send(frame{Kind: hello, Token: g.token, Rank: w.Rank, Size: w.Size, Hosts: []string{hostname()}})
	var first frame
	select {
	case first = <-g.welcomed:
	case <-g.failed:
		return g.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	address = first.Addr
	if o.Backend == "nccl" {
		address = o.Device.String()
	} else if os.Getenv("GLOO_SOCKET_IFNAME") != "" { // gloo reads it itself
		address = ""
	}
	opened := make(chan error, 1)
	go func() { opened <- g.open(address) }()
	select {
	case err = <-opened:
	case <-g.failed:
		err = g.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-g.failed:
			g.abort()
		case <-g.over:
		}
	}()
	return nil
}

// openHub is the hub's address; rank 0 opens the hub first. It leaves in g.token what to say there.
func (g *Group) openHub(ctx context.Context) (address string, err error) {
	key := fmt.Sprintf("goclip/%d/hub", g.world.Restart)
	if g.world.Rank != 0 {
		ctx, cancel := context.WithTimeout(ctx, g.options.Timeout)
		defer cancel()
		value, err := g.store.wait(ctx, key)
		if errors.Is(err, context.DeadlineExceeded) {
			return "", &RankError{Rank: 0, Reason: fmt.Sprintf("it did not join within %s", g.options.Timeout)}
		} else if err != nil {
			return "", err
		}
		port, token, _ := strings.Cut(value, " ")
		g.token = token
		return net.JoinHostPort(g.world.MasterAddr, port), nil
	}
	local := net.ParseIP(g.world.MasterAddr)
	at := ":0"
	if g.world.MasterAddr == "localhost" || local != nil && local.IsLoopback() {
		at = "127.0.0.1:0" // nobody comes from elsewhere
	}
	if g.hub, err = newHub(g.world.Size, at, g.options.Timeout, g.options.Silence); err != nil {
		return "", err
	}
	g.token = g.hub.token
	port := strconv.Itoa(g.hub.listener.Addr().(*net.TCPAddr).Port)
	return net.JoinHostPort("127.0.0.1", port), g.store.set(key, port+" "+g.token)
}

// open makes c10d's group; it returns when all ranks are connected. The address is this process's, or for nccl its device.
func (g *Group) open(address string) error {
	backend, prefix, at := C.CString(g.options.Backend), C.CString(fmt.Sprintf("goclip/%d/", g.world.Restart)), C.CString(address)
	defer C.free(unsafe.Pointer(backend))
	defer C.free(unsafe.Pointer(prefix))
	defer C.free(unsafe.Pointer(at))
	return message(C.gc_group_open(g.store.c, backend, prefix, C.int32_t(g.world.Rank), C.int32_t(g.world.Size), at,
		C.int64_t(g.options.Timeout.Milliseconds()), &g.number))
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return name
}

// Rank is this process's number, from 0 to Size - 1.
func (g *Group) Rank() int { return g.world.Rank }

// Size returns how many processes there are.
func (g *Group) Size() int { return g.world.Size }

// LocalRank is this process's number on its host.
func (g *Group) LocalRank() int { return g.world.LocalRank }

// Close ends this rank's part: it waits until all ranks have done their work, and frees the group. When the group has
// failed it waits for nobody and returns the *[RankError].
func (g *Group) Close() error {
	if g.world.Size == 1 {
		return nil
	}
	if g.Err() == nil {
		g.mu.Lock()
		g.closing = true
		g.mu.Unlock()
		g.link.send(frame{Kind: bye})
		select {
		case <-g.over:
		case <-g.failed:
		case <-time.After(g.options.Timeout):
			_ = g.Fail(fmt.Errorf("not every rank came to its end within %s", g.options.Timeout))
		}
	}
	g.hangUp()
	return g.Err()
}

// abort ends every wait in C++, and lets the group be freed without the ranks that are gone.
func (g *Group) abort() {
	reason := C.CString(g.Err().Error())
	defer C.free(unsafe.Pointer(reason))
	C.gc_group_abort(g.number, reason)
}

// hangUp gives back what join took, as far as it came.
func (g *Group) hangUp() {
	if g.number != 0 {
		if g.Err() != nil {
			g.abort()
		}
		C.gc_group_close(g.number)
	}
	if g.link != nil {
		_ = g.link.conn.Close()
	}
	if g.hub != nil {
		g.hub.close()
	}
	if g.store != nil {
		g.store.Close()
	}
}
