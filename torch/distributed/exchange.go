package distributed

import (
	"fmt"
	"slices"
	"time"
)

// Exchange sends bytes of each rank to all: element r of the result is rank r's. It is for small things; they go by way of
// rank 0.
func (g *Group) Exchange(own []byte) ([][]byte, error) {
	if g.world.Size == 1 {
		return [][]byte{own}, nil
	}
	g.seq++
	g.link.send(frame{Kind: exchange, Seq: g.seq, Data: own})
	select {
	case f := <-g.exchanges:
		return f.All, nil
	case <-g.failed:
		return nil, g.Err()
	case <-time.After(g.options.Timeout):
		return nil, g.Fail(fmt.Errorf("not every rank took part in an exchange within %s", g.options.Timeout))
	}
}

// Any reports whether a rank says so, which is the same answer on all: the vote whether to stop, say.
func (g *Group) Any(own bool) (bool, error) {
	vote := []byte{0}
	if own {
		vote[0] = 1
	}
	all, err := g.Exchange(vote)
	return slices.ContainsFunc(all, func(b []byte) bool { return len(b) == 1 && b[0] == 1 }), err
}

// Barrier returns when all ranks have come to it.
func (g *Group) Barrier() error {
	_, err := g.Exchange(nil)
	return err
}
