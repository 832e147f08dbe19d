package torch

/*
#include "../csrc/goclip.h"
#cgo nocallback gc_can_capture
#cgo nocallback gc_capture_begin
#cgo nocallback gc_capture_end
#cgo nocallback gc_replay
#cgo nocallback gc_free_graph
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
)

// Graph is work on a CUDA device that was captured once, kernel by kernel, and is given to the
// device again in one go: what Go, the dispatcher and autograd cost is then paid no more. It works
// on the memory that it was captured with, so what it reads is copied into the same tensors before
// each [Graph.Replay], and what is read of it lies in tensors that were there before the capture.
type Graph struct {
	c       *C.gc_graph
	cleanup runtime.Cleanup
}

// CanCapture reports whether this program was built with CUDA graphs (build tag cuda).
func CanCapture() bool { return C.gc_can_capture() != 0 }

// Capture runs f, whose operators on d are noted and not done. f may call [Do], must not read
// anything back from d nor bring anything there, and should have run before, so that libraries have
// prepared what they need. Random numbers of d's default generator are drawn again by each replay.
func Capture(d Device, f func() error) (g *Graph, err error) {
	if d.Type != "cuda" {
		return nil, fmt.Errorf("torch: work on %s cannot be captured: only CUDA has graphs", d)
	}
	onWorker(func() {
		defer catch(&err)
		g = &Graph{}
		check("capture", C.gc_capture_begin(C.int32_t(d.Index), &g.c))
		g.cleanup = runtime.AddCleanup(g, freeGraph, g.c)
		defer func() {
			if failed := C.gc_capture_end(g.c); failed != nil {
				err = errors.Join(err, takeMessage("capture", failed))
			}
		}()
		err = f()
	})
	if err != nil {
		g.Free()
		return nil, err
	}
	return g, nil
}

// Replay gives the device the captured work once more, and does not wait for it. Call it in [Do].
func (g *Graph) Replay() {
	if g == nil || g.c == nil {
		misuse("replay", "nothing was captured")
	}
	check("replay", C.gc_replay(g.c))
	runtime.KeepAlive(g)
}

// Free frees the graph now, where the garbage collector would do so later. It may be called twice.
func (g *Graph) Free() {
	if g != nil && g.c != nil {
		g.cleanup.Stop()
		freeGraph(g.c)
		g.c = nil
	}
}

func freeGraph(c *C.gc_graph) { C.gc_free_graph(c) }
