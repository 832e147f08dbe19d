package crashtest

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxStates bounds the states of one moment. A test that comes to it does too much without a sync.
const maxStates = 1 << 16

// State is what a disk holds after a crash.
type State struct {
	dirs  []string           // a parent before what is in it
	files map[string]content // by path below the root
}

// Crashes yields each state of the disk that a stop after the first n operations of the journal can leave, for every n
// from 0 on. A state that an earlier n left as well is not yielded again.
func (f *FS) Crashes() iter.Seq2[int, State] {
	return func(yield func(int, State) bool) {
		d := newModel(f)
		seen := map[string]bool{}
		for n := 0; ; n++ {
			for s := range d.states() {
				if key := s.key(); !seen[key] {
					seen[key] = true
					if !yield(n, s) {
						return
					}
				}
			}
			if n == len(f.journal) {
				return
			}
			d.play(f.journal[n])
		}
	}
}

// Crash yields each state that a stop after the last operation of the journal can leave.
func (f *FS) Crash() iter.Seq[State] {
	d := newModel(f)
	for _, o := range f.journal {
		d.play(o)
	}
	return d.states()
}

// model is the disk while the journal is played on it.
type model struct {
	path string // of its root on the machine
	root *node
	made int
}

func newModel(f *FS) *model { return &model{path: f.root, root: f.before.copy(), made: 1 << 30} }

// copy is the node as it was when it was scanned.
func (n *node) copy() *node {
	c := &node{id: n.id, dir: n.dir, data: n.data, safeData: n.safeData}
	if n.dir {
		c.names = map[string]*node{}
		for name, inner := range n.names {
			c.names[name] = inner.copy()
		}
		c.safeNames = maps.Clone(c.names)
	}
	return c
}

// find is the node of a path.
func (d *model) find(path string) *node {
	rel, err := filepath.Rel(d.path, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		panic("crashtest: " + path + " lies outside " + d.path)
	}
	n := d.root
	for _, name := range strings.Split(rel, string(filepath.Separator)) {
		if name != "." && n != nil {
			n = n.names[name]
		}
	}
	return n
}

// play does an operation of the journal.
func (d *model) play(o operation) {
	switch o.kind {
	case Mkdir, Create:
		d.made++
		n := &node{id: d.made, dir: o.kind == Mkdir}
		if n.dir {
			n.names, n.safeNames = map[string]*node{}, map[string]*node{}
		}
		d.change(o.path, change{filepath.Base(o.path): n})
	case Remove:
		d.change(o.path, change{filepath.Base(o.path): nil})
	case Rename, Exchange:
		if filepath.Dir(o.path) != filepath.Dir(o.to) {
			panic("crashtest: " + o.path + " is moved to another directory, " + o.to)
		}
		c := change{filepath.Base(o.to): d.find(o.path), filepath.Base(o.path): nil}
		if o.kind == Exchange {
			c[filepath.Base(o.path)] = d.find(o.to)
		}
		d.change(o.path, c)
	case SyncDir:
		n := d.find(o.path)
		n.safeNames, n.pending = maps.Clone(n.names), nil
	case Write:
		n := d.find(o.path)
		if at := int(o.size); o.at {
			n.data = slices.Concat(n.data[:at], o.data, n.data[min(at+len(o.data), len(n.data)):])
		} else {
			n.data = append(slices.Clip(n.data), o.data...)
		}
		n.variants = nil
	case Truncate:
		n := d.find(o.path)
		n.data, n.variants = slices.Clip(n.data[:o.size]), nil
	case Sync:
		n := d.find(o.path)
		n.safeData, n.variants = n.data, nil
	}
}

func (d *model) change(path string, c change) {
	n := d.find(filepath.Dir(path))
	c.on(n.names)
	n.pending = append(n.pending, c)
}

// states are what the disk may hold if it stops now.
func (d *model) states() iter.Seq[State] {
	return func(yield func(State) bool) {
		listings, contents := map[*node][]map[string]*node{}, map[*node][]content{}
		var open []*node // those with more than one possibility
		product := 1
		var visit func(n *node)
		visit = func(n *node) {
			if listings[n] != nil || contents[n] != nil {
				return
			}
			many := 0
			if n.dir {
				listings[n] = n.listings()
				many = len(listings[n])
			} else {
				contents[n] = n.contents()
				many = len(contents[n])
			}
			if many > 1 {
				open = append(open, n)
				product *= many
			}
			for _, names := range listings[n] {
				for _, inner := range names {
					visit(inner)
				}
			}
		}
		visit(d.root)
		if product > maxStates {
			panic(fmt.Sprintf("crashtest: %d states of %d files and directories that wait for a sync", product, len(open)))
		}
		choice := map[*node]int{}
		for range product {
			s := State{files: map[string]content{}}
			var build func(n *node, path string)
			build = func(n *node, path string) {
				if !n.dir {
					s.files[path] = contents[n][choice[n]]
					return
				}
				s.dirs = append(s.dirs, path)
				names := listings[n][choice[n]]
				for _, name := range slices.Sorted(maps.Keys(names)) {
					build(names[name], filepath.Join(path, name))
				}
			}
			build(d.root, "")
			if !yield(s) {
				return
			}
			for _, n := range open { // as an odometer
				if choice[n]++; choice[n] < max(len(listings[n]), len(contents[n])) {
					break
				}
				choice[n] = 0
			}
		}
	}
}

func (s State) key() string {
	var b strings.Builder
	for _, dir := range s.dirs {
		b.WriteString(dir + "/")
	}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		b.WriteString(path + " " + s.files[path].key + "/")
	}
	return b.String()
}

// Write makes the state in dir, in place of what is there. Large files are links into the directory store, which the
// states of a test share: they may be removed and replaced, not written into.
func (s State) Write(dir, store string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, inner := range s.dirs {
		if err := os.MkdirAll(filepath.Join(dir, inner), 0o755); err != nil {
			return err
		}
	}
	for path, c := range s.files {
		path = filepath.Join(dir, path)
		if len(c.data) < 16<<10 {
			if err := os.WriteFile(path, c.data, 0o644); err != nil {
				return err
			}
			continue
		}
		stored := filepath.Join(store, c.key)
		if _, err := os.Stat(stored); err != nil {
			if err := os.WriteFile(stored, c.data, 0o644); err != nil {
				return err
			}
		}
		if err := os.Link(stored, path); err != nil {
			return err
		}
	}
	return nil
}

// String lists the files with their sizes, for the message of a test that failed.
func (s State) String() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(&b, "%s: %s\n", path, s.files[path].key)
	}
	return b.String()
}
