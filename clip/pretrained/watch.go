package pretrained

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// watch ends a request that brings no byte for a while.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

var errStalled = errors.New("stalled")

func newWatch(ctx context.Context, limit time.Duration) *watch {
	w := &watch{limit: limit}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(limit, func() { w.cancel(errStalled) })
	return w
}

func (w *watch) reset() { w.timer.Reset(w.limit) }
func (w *watch) stop()  { w.timer.Stop() }
func (w *watch) close() { w.stop(); w.cancel(nil) }

// reader has each piece that arrives reset the watch.
func (w *watch) reader(r io.Reader) io.Reader { return watched{r, w} }

type watched struct {
	io.Reader
	*watch
}

func (r watched) Read(b []byte) (int, error) {
	r.reset()
	return r.Reader.Read(b)
}

// explain says which of the three ends a failed read had: no byte came, the caller stopped, or the
// connection broke.
func (w *watch) explain(err error) error {
	switch cause := context.Cause(w.ctx); {
	case cause == errStalled:
		return transient{fmt.Errorf("no byte came for %s", w.limit)}
	case cause != nil:
		return cause
	default:
		return err
	}
}
