package distributed

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// frame is what ranks and rank 0's hub say to one another.
type frame struct {
	Kind  kind
	Token string   // hello: read from the store, so that nobody else joins by mistake
	Rank  int      // hello, failed: who
	Size  int      // hello: of the world that the rank believes in
	Hosts []string // hello: its own; welcome: each rank's
	Addr  string   // welcome: the address by which the others reach this rank
	Text  string   // fail, failed: why
	Seq   int      // exchange: which
	Data  []byte   // exchange, to the hub
	All   [][]byte // exchange, from the hub
}

type kind int

const (
	hello    kind = iota + 1 // a rank joins
	welcome                  // all have joined
	beat                     // "I live", answered with the same
	exchange                 // bytes from each rank, sent on to all together
	fail                     // a rank tells of its error
	failed                   // the hub tells all who failed, and why
	bye                      // a rank has done its work
	done                     // all have
)

// link is a connection with its coding. Sending is safe from several goroutines.
type link struct {
	conn    net.Conn
	in      *gob.Decoder
	silence time.Duration

	mu  sync.Mutex
	out *gob.Encoder
}

func newLink(conn net.Conn, silence time.Duration) *link {
	return &link{conn: conn, in: gob.NewDecoder(conn), out: gob.NewEncoder(conn), silence: silence}
}

// send says f. A connection that is broken is noticed where it is read.
func (l *link) send(f frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(l.silence))
	_ = l.out.Encode(f)
}

// receive hears the next frame, or that there is none for the time of silence.
func (l *link) receive() (f frame, err error) {
	_ = l.conn.SetReadDeadline(time.Now().Add(l.silence))
	err = l.in.Decode(&f)
	return f, err
}

// death is what a broken connection says of the process at its other end.
func (l *link) death(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Sprintf("it has been silent for %s: its host is down, or the process is stopped", l.silence)
	}
	return "it ended without a word: it was killed, or it crashed"
}
