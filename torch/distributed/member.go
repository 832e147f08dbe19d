package distributed

import (
	"errors"
	"time"
)

// listen hears what the hub says until the connection ends.
func (g *Group) listen() {
	for {
		f, err := g.link.receive()
		if err != nil {
			g.mu.Lock()
			closing := g.closing
			g.mu.Unlock()
			if !closing {
				g.end(&RankError{Rank: 0, Host: g.host(0), Reason: g.link.death(err)})
			}
			return
		}
		switch f.Kind {
		case welcome:
			g.mu.Lock()
			g.hosts = f.Hosts
			g.mu.Unlock()
			g.welcomed <- f
		case exchange:
			g.exchanges <- f
		case failed:
			e := &RankError{Rank: f.Rank, Reason: f.Text}
			if len(f.Hosts) > 0 {
				e.Host = f.Hosts[0]
			}
			g.end(e)
			return
		case done:
			close(g.over)
			return
		}
	}
}

// beat says that this rank lives, several times within the silence that would speak against it.
func (g *Group) beat() {
	tick := time.NewTicker(g.options.Silence / 6)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.link.send(frame{Kind: beat})
		case <-g.failed:
			return
		case <-g.over:
			return
		}
	}
}

func (g *Group) host(rank int) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if rank < len(g.hosts) {
		return g.hosts[rank]
	}
	return ""
}

// end marks the group as failed; the first failure counts.
func (g *Group) end(e *RankError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil {
		g.failure = e
		close(g.failed)
	}
}

// Done is closed when a rank has failed.
func (g *Group) Done() <-chan struct{} { return g.failed }

// Err is the *[RankError] of the rank that failed, nil while all are well.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil {
		return nil
	}
	return g.failure
}

// Fail tells all ranks that this one ends with err, and returns the error that the job ends with: the *[RankError] of the
// rank that failed first, of which err may be a consequence. In a world of one it is err. [Group.Close] follows.
func (g *Group) Fail(err error) error {
	if g.world.Size == 1 {
		return err
	}
	var known *RankError
	if g.link == nil || errors.As(err, &known) { // nobody to tell, or told already
		return err
	}
	g.link.send(frame{Kind: fail, Text: err.Error()})
	select {
	case <-g.failed:
	case <-time.After(2 * time.Second): // the hub is gone too
		g.end(&RankError{Rank: g.world.Rank, Host: hostname(), Reason: err.Error()})
	}
	return g.Err()
}
