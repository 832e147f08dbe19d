package crashtest

import (
	"bytes"
	"fmt"
	"hash/crc64"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// node is a file or directory of the model: what programs see of it, and what of it is safe.
type node struct {
	id  int
	dir bool

	names, safeNames map[string]*node // of a directory
	pending          []change         // of its names since the last sync

	data, safeData []byte // of a file
	variants       []content
}

// change is a stroke by which names of a directory change, both names of a rename or neither: what each stands for then,
// nil for nothing. A change may be kept of which an earlier one was lost.
type change map[string]*node

func (c change) on(names map[string]*node) {
	for name, n := range c {
		if n == nil {
			delete(names, name)
		} else {
			names[name] = n
		}
	}
}

// content is what a file may hold; equal contents have equal keys.
type content struct {
	data []byte
	key  string
}

var table = crc64.MakeTable(crc64.ECMA)

func contentOf(data []byte) content {
	return content{data, fmt.Sprintf("%d-%016x", len(data), crc64.Checksum(data, table))}
}

// contents lists what a file may hold after a crash.
func (n *node) contents() []content {
	if n.variants != nil {
		return n.variants
	}
	list := [][]byte{n.data}
	if !bytes.Equal(n.data, n.safeData) {
		list = append(list, n.safeData)
	}
	if len(n.data) > len(n.safeData) { // written at its end
		from, half := len(n.safeData), (len(n.safeData)+len(n.data))/2
		zeros := func(from, to int) []byte {
			data := slices.Clone(n.data)
			clear(data[from:to])
			return data
		}
		list = append(list, n.data[:half], zeros(from, half), zeros(half, len(n.data)), zeros(from, len(n.data)))
	}
	seen := map[string]bool{}
	for _, data := range list {
		if c := contentOf(data); !seen[c.key] {
			seen[c.key] = true
			n.variants = append(n.variants, c)
		}
	}
	return n.variants
}

// listings lists the names that a directory may have after a crash. Up to 4 changes since the last sync are kept and lost
// in every combination, more of them up to each, all but each, and each alone.
func (n *node) listings() (list []map[string]*node) {
	seen := map[string]bool{}
	keep := func(kept func(i int) bool) {
		names := maps.Clone(n.safeNames)
		for i, c := range n.pending {
			if kept(i) {
				c.on(names)
			}
		}
		key := ""
		for _, name := range slices.Sorted(maps.Keys(names)) {
			key += fmt.Sprintf("%s %d/", name, names[name].id)
		}
		if !seen[key] {
			seen[key] = true
			list = append(list, names)
		}
	}
	if k := len(n.pending); k <= 4 {
		for set := range 1 << k {
			keep(func(i int) bool { return set>>i&1 == 1 })
		}
	} else {
		for at := range k + 1 {
			keep(func(i int) bool { return i < at })
			keep(func(i int) bool { return i != at })
			keep(func(i int) bool { return i == at })
		}
	}
	return list
}

// scan is the model of a directory as it is, all of it safe.
func scan(path string) (*node, error) {
	id := 0
	var walk func(path string) (*node, error)
	walk = func(path string) (*node, error) {
		id++
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		n := &node{id: id, dir: info.IsDir()}
		if !n.dir {
			n.data, err = os.ReadFile(path)
			n.safeData = n.data
			return n, err
		}
		n.names = map[string]*node{}
		entries, err := os.ReadDir(path)
		for _, e := range entries {
			if err == nil {
				n.names[e.Name()], err = walk(filepath.Join(path, e.Name()))
			}
		}
		n.safeNames = maps.Clone(n.names)
		return n, err
	}
	return walk(path)
}
