package serve

// What models take together stays within Options.Memory: those used the longest ago make room.

// expected is the bytes of m's weights: known once it was loaded, and before that taken to be those
// of the largest model so far. The caller holds mu.
func (r *registry) expected(m *served) (most int64) {
	if m.known != nil {
		return m.known.Bytes
	}
	for _, other := range r.list {
		if other.known != nil {
			most = max(most, other.known.Bytes)
		}
	}
	return most
}

// makeRoom unloads the models that were used the longest ago until need more bytes are free, and
// waits until they are. The caller holds mu.
func (r *registry) makeRoom(m *served, need int64) {
	for r.memory > 0 && r.bytes+need > r.memory {
		r.shrink(m, need)
		if r.retiring == 0 {
			return
		}
		r.freed.Wait()
	}
}

// shrink retires models other than m until need more bytes will be free. The caller holds mu.
func (r *registry) shrink(m *served, need int64) {
	loaded := need
	for _, other := range r.list {
		if other.engine != nil {
			loaded += other.engine.Bytes
		}
	}
	for r.memory > 0 && loaded > r.memory {
		var oldest *engine
		for _, other := range r.list {
			if e := other.engine; e != nil && other != m && (oldest == nil || other.used.Before(oldest.of.used)) {
				oldest = e
			}
		}
		if oldest == nil {
			return
		}
		loaded -= oldest.Bytes
		r.log.Info("a model is unloaded: others need its memory", "model", oldest.of.Name)
		r.retire(oldest)
	}
}
