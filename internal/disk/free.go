package disk

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FreeBytes returns the room that this process has on the disk of a directory, or of the first of those above it that exists.
func FreeBytes(dir string) int64 {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0
	}
	for {
		var s unix.Statfs_t
		if unix.Statfs(dir, &s) == nil {
			return int64(s.Bavail) * s.Bsize
		}
		if dir == filepath.Dir(dir) {
			return 0
		}
		dir = filepath.Dir(dir)
	}
}
