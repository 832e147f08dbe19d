package distributed

import (
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// hub runs on rank 0. It holds a connection to each rank, rank 0 among them, notices the one that breaks, tells all ranks
// of it, and passes small messages around.
type hub struct {
	listener net.Listener
	token    string
	silence  time.Duration
	late     *time.Timer
	links    sync.WaitGroup

	mu        sync.Mutex
	members   []*member // by rank; nil until it joins
	exchanges map[int][][]byte
	verdict   *frame // failed, once somebody has
	byes      int
}

// member is a rank as the hub knows it.
type member struct {
	*link
	host string
	bye  bool
}

// newHub listens for the ranks of a world; those that have not come after join have failed.
func newHub(size int, address string, join, silence time.Duration) (*hub, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	h := &hub{listener: listener, token: rand.Text(), silence: silence, members: make([]*member, size), exchanges: map[int][][]byte{}}
	h.late = time.AfterFunc(join, func() { h.missing(join) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			h.links.Go(func() { h.serve(newLink(conn, silence)) })
		}
	}()
	return h, nil
}

// close waits a little for the ranks to hang up: what was said last might not arrive otherwise.
func (h *hub) close() {
	h.late.Stop()
	_ = h.listener.Close()
	gone := make(chan struct{})
	go func() { h.links.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(2 * time.Second):
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		if m != nil {
			_ = m.conn.Close()
		}
	}
}

// serve speaks with one process.
func (h *hub) serve(l *link) {
	defer l.conn.Close()
	f, err := l.receive()
	if err != nil || f.Kind != hello || f.Token != h.token || len(f.Hosts) != 1 {
		return // some other program
	}
	rank := f.Rank
	if !h.join(l, f) {
		return
	}
	for {
		f, err := l.receive()
		if err != nil {
			h.left(rank, l.death(err))
			return
		}
		switch f.Kind {
		case beat:
			l.send(f)
		case exchange:
			h.collect(rank, f)
		case fail:
			h.fail(rank, f.Text)
		case bye:
			h.leave(rank)
		}
	}
}

func (h *hub) join(l *link, f frame) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.Size != len(h.members) || f.Rank < 0 || f.Rank >= len(h.members) || h.members[f.Rank] != nil {
		l.send(frame{Kind: failed, Rank: f.Rank, Hosts: f.Hosts, Text: fmt.Sprintf(
			"it cannot join as rank %d of %d: rank 0 leads %d processes, each rank once (RANK, WORLD_SIZE)", f.Rank, f.Size, len(h.members))})
		return false
	}
	h.members[f.Rank] = &member{link: l, host: f.Hosts[0]}
	if h.verdict != nil {
		l.send(*h.verdict)
		return true
	}
	if slices.Contains(h.members, nil) {
		return true
	}
	h.late.Stop()
	var hosts []string
	for _, m := range h.members {
		hosts = append(hosts, m.host)
	}
	for rank, m := range h.members {
		m.send(frame{Kind: welcome, Hosts: hosts, Addr: h.address(rank)})
	}
	return true
}

// address is where the others reach a rank: where its connection comes from or, on rank 0's own host, where the others'
// connections go to.
func (h *hub) address(rank int) string {
	from := h.members[rank].conn.RemoteAddr().(*net.TCPAddr).IP
	if !from.IsLoopback() {
		return from.String()
	}
	for _, m := range h.members {
		if at := m.conn.LocalAddr().(*net.TCPAddr).IP; !at.IsLoopback() {
			return at.String()
		}
	}
	return from.String()
}

// collect sends an exchange's bytes to all once the last rank has given its own.
func (h *hub) collect(rank int, f frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.exchanges[f.Seq]
	if all == nil {
		all = make([][]byte, len(h.members))
		h.exchanges[f.Seq] = all
	}
	if f.Data == nil {
		f.Data = []byte{} // gob sends no empty slice as such
	}
	all[rank] = f.Data
	if slices.ContainsFunc(all, func(b []byte) bool { return b == nil }) {
		return
	}
	delete(h.exchanges, f.Seq)
	for _, m := range h.members {
		m.send(frame{Kind: exchange, Seq: f.Seq, All: all})
	}
}

func (h *hub) leave(rank int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.members[rank].bye = true
	if h.byes++; h.byes == len(h.members) {
		for _, m := range h.members {
			m.send(frame{Kind: done})
		}
	}
}

// left hears that a rank's connection is broken, which is well after its goodbye.
func (h *hub) left(rank int, why string) {
	h.mu.Lock()
	bye := h.members[rank].bye
	h.mu.Unlock()
	if !bye {
		h.fail(rank, why)
	}
}

// fail tells all ranks who failed. The first failure counts: others follow from it.
func (h *hub) fail(rank int, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.verdict != nil {
		return
	}
	h.verdict = &frame{Kind: failed, Rank: rank, Text: why}
	if m := h.members[rank]; m != nil {
		h.verdict.Hosts = []string{m.host}
	}
	for _, m := range h.members {
		if m != nil {
			m.send(*h.verdict)
		}
	}
}

// missing blames the ranks that have not joined.
func (h *hub) missing(after time.Duration) {
	h.mu.Lock()
	var ranks []int
	for rank, m := range h.members {
		if m == nil {
			ranks = append(ranks, rank)
		}
	}
	h.mu.Unlock()
	if len(ranks) > 0 {
		h.fail(ranks[0], fmt.Sprintf("it did not join within %s; of %d processes, those of the ranks %v are missing", after, len(h.members), ranks))
	}
}
