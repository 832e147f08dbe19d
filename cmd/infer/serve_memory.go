package main

import (
	"io/fs"
	"os"
	"runtime/debug"

	"github.com/goclip/goclip/serve"
)

// memoryOf is what a process may take, in bytes: the limit of its cgroup, or all of the machine. 0
// is not known.
func memoryOf(machine fs.FS) int64 {
	total, limit := kilobytes(field(machine, "proc/meminfo", "MemTotal")), memoryLimit(machine)
	if limit == 0 || total > 0 && total < limit {
		return total
	}
	return limit
}

// fit divides the memory, in bytes, where no flag says otherwise: a quarter at most is for decoding,
// and a sixteenth for requests, whose contents take twice that again. Go's collector keeps its heap,
// which has both, within half: the rest is for weights and libtorch. See "Memory" in docs/serve.md.
func (l *serveLimits) fit(memory int64) {
	d := serve.DefaultLimits
	if memory > 0 {
		d.Decoding, d.Bodies = min(d.Decoding, memory/4), max(min(d.Bodies, memory/16), l.MaxBody)
		if os.Getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(memory / 2)
		}
	}
	if l.MaxDecoding == 0 {
		l.MaxDecoding = d.Decoding
	}
	if l.MaxBodies == 0 {
		l.MaxBodies = max(d.Bodies, l.MaxBody)
	}
}
