package main

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

func TestMemoryOf(t *testing.T) {
	for _, c := range []struct {
		total, limit string
		want         int64
	}{{"MemTotal: 4096 kB\n", "", 4 << 20}, {"MemTotal: 4096 kB\n", "1048576", 1 << 20}, {"MemTotal: 4096 kB\n", "max", 4 << 20}, {"MemTotal: 4096 kB\n", "8388608", 4 << 20}, {"", "1048576", 1 << 20}, {"", "", 0}} {
		machine := fstest.MapFS{"proc/meminfo": {Data: []byte(c.total)}, "proc/self/cgroup": {Data: []byte("0::/a\n")}, "sys/fs/cgroup/a/memory.max": {Data: []byte(c.limit)}}
		assert.Equal(t, c.want, memoryOf(machine), "%+v", c)
	}
}

func TestServeFitsItsContainer(t *testing.T) {
	for _, c := range []struct {
		name             string
		memory           int64
		flags            serveLimits
		decoding, bodies int64
		collector        int64
		environment      string
	}{
		{"no limit", 0, serveLimits{MaxBody: 32 << 20}, 1 << 30, 256 << 20, math.MaxInt64, ""},
		{"ample", 64 << 30, serveLimits{MaxBody: 32 << 20}, 1 << 30, 256 << 20, 32 << 30, ""},
		{"2 GiB", 2 << 30, serveLimits{MaxBody: 32 << 20}, 512 << 20, 128 << 20, 1 << 30, ""},
		{"a request fits", 256 << 20, serveLimits{MaxBody: 32 << 20}, 64 << 20, 32 << 20, 128 << 20, ""},
		{"flags", 2 << 30, serveLimits{MaxBody: 1 << 20, MaxBodies: 3 << 20, MaxDecoding: 5 << 20}, 5 << 20, 3 << 20, 1 << 30, ""},
		{"long requests", 0, serveLimits{MaxBody: 1 << 30}, 1 << 30, 1 << 30, math.MaxInt64, ""},
		{"GOMEMLIMIT", 2 << 30, serveLimits{MaxBody: 32 << 20}, 512 << 20, 128 << 20, math.MaxInt64, "1GiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", c.environment)
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
			l := c.flags
			l.fit(c.memory)
			assert.Equal(t, c.decoding, l.MaxDecoding)
			assert.Equal(t, c.bodies, l.MaxBodies)
			assert.Equal(t, c.collector, debug.SetMemoryLimit(-1))
		})
	}
}
