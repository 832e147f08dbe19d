package torch

// GraphCache keeps captured work by the shape of its input. The first input of a shape runs as it
// is, which prepares what libraries need; the second is captured; every later one is replayed:
//
//	graph, work, err := cache.Get(shape, capture)
//	if err != nil {
//		log.Printf("inputs of shape %v run operator by operator: %v", shape, err)
//	}
//	if graph == nil {
//		return plain(input) // operator by operator
//	}
//	work.input.CopyFrom(input)
//	graph.Replay()
//	return read(work.output)
//
// T is what a graph works on: the tensors that inputs are copied into and results are read from. A
// cache, and what it gave, is one goroutine's at a time: graphs share the memory of their
// temporaries.
type GraphCache[K comparable, T any] struct {
	Max     int // shapes that are captured; the first to come. Inputs of others run as they are
	entries map[K]*graphEntry[T]
}

type graphEntry[T any] struct {
	graph  *Graph // nil until the second input
	work   T
	failed bool // to be captured, which is not tried again
}

// Get returns the graph for inputs of this shape and what it works on, or nil where the input is to run
// as it is. capture is called for the second input, and makes both. If it fails, err says so, this
// once; this input and all later ones of the shape run as they are, because a capture costs more
// than a run and what failed, such as an operator that waits for the device, would fail again.
func (c *GraphCache[K, T]) Get(shape K, capture func() (*Graph, T, error)) (graph *Graph, work T, err error) {
	e, known := c.entries[shape]
	switch {
	case !known && len(c.entries) < c.Max:
		if c.entries == nil {
			c.entries = map[K]*graphEntry[T]{}
		}
		c.entries[shape] = &graphEntry[T]{}
		return nil, work, nil
	case !known || e.failed:
		return nil, work, nil
	case e.graph == nil:
		if graph, work, err = capture(); err != nil {
			e.failed = true
			return nil, *new(T), err
		}
		e.graph, e.work = graph, work
	}
	return e.graph, e.work, nil
}

// Len returns how many shapes have come, at most Max.
func (c *GraphCache[K, T]) Len() int { return len(c.entries) }

// Reset frees all graphs and forgets them, as when weights that they read have moved. What they
// worked on is the caller's or the garbage collector's.
func (c *GraphCache[K, T]) Reset() {
	for _, e := range c.entries {
		if e.graph != nil {
			e.graph.Free()
		}
	}
	clear(c.entries)
}
