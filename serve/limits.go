package serve

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"time"
)

// Limits bound what clients may cost. A field that is zero takes its value from [DefaultLimits].
type Limits struct {
	Body      int64 // bytes of a request
	Bodies    int64 // bytes of all requests that are being answered; what they become takes about three times as much again
	Pixels    int64 // width times height of a picture, read from its header before anything is decoded
	Side      int   // pixels that the shorter side of a picture has at least: one of 1x1 shows nothing
	Inputs    int   // texts and pictures of a request
	TextBytes int   // of a text; the model reads far less
	Queue     int   // texts and pictures that are accepted and not yet computed; beyond it, 429

	BatchSize int           // texts or pictures that go through the model together
	Window    time.Duration // that the first of a batch waits for others at most
	Decoders  int           // pictures decoded at a time; 0 is the CPUs there are

	Wait  time.Duration // for the model; beyond it, 503
	Read  time.Duration // for a whole request to arrive; beyond it, 408
	Write time.Duration // for a client to take its answer, from the end of its request's header on
	Idle  time.Duration // between the requests of a connection
	Grace time.Duration // for what was accepted, when the server ends
}

// DefaultLimits are good for photographs and a machine with 4 GB of memory.
var DefaultLimits = Limits{
	Body: 32 << 20, Bodies: 256 << 20, Pixels: 50e6, Side: 2, Inputs: 256, TextBytes: 10_000, Queue: 512,
	BatchSize: 32, Window: 5 * time.Millisecond,
	Wait: 30 * time.Second, Read: 20 * time.Second, Write: 90 * time.Second, Idle: 2 * time.Minute, Grace: 30 * time.Second,
}

// filled has the defaults in the place of zeros, and says what cannot be.
func (l Limits) filled() (Limits, error) {
	d := DefaultLimits
	for _, f := range []struct {
		v     *int
		other int
	}{{&l.Side, d.Side}, {&l.Inputs, d.Inputs}, {&l.TextBytes, d.TextBytes}, {&l.Queue, d.Queue}, {&l.BatchSize, d.BatchSize}} {
		if *f.v == 0 {
			*f.v = f.other
		}
	}
	for _, f := range []struct {
		v     *int64
		other int64
	}{{&l.Body, d.Body}, {&l.Bodies, d.Bodies}, {&l.Pixels, d.Pixels}} {
		if *f.v == 0 {
			*f.v = f.other
		}
	}
	for _, f := range []struct{ v, other *time.Duration }{{&l.Window, &d.Window}, {&l.Wait, &d.Wait}, {&l.Read, &d.Read},
		{&l.Write, &d.Write}, {&l.Idle, &d.Idle}, {&l.Grace, &d.Grace}} {
		if *f.v == 0 {
			*f.v = *f.other
		}
	}
	for _, v := range []int64{int64(l.Side), int64(l.Inputs), int64(l.TextBytes), int64(l.Queue), int64(l.BatchSize), int64(l.Decoders),
		l.Body, l.Bodies, l.Pixels, int64(l.Window), int64(l.Wait), int64(l.Read), int64(l.Write), int64(l.Idle), int64(l.Grace)} {
		if v < 0 {
			return l, fmt.Errorf("serve: a limit of %d: limits are positive", v)
		}
	}
	switch {
	case l.Inputs > l.Queue:
		return l, fmt.Errorf("serve: a request may have %d inputs and the queue holds %d: no such request would ever be accepted", l.Inputs, l.Queue)
	case l.Body > l.Bodies:
		return l, fmt.Errorf("serve: a request may have %d bytes and all of them %d: no such request would ever be accepted", l.Body, l.Bodies)
	}
	return l, nil
}

// admission counts what has been accepted and is not yet answered.
type admission struct {
	limits Limits

	mu     sync.Mutex
	inputs int
	bytes  int64
	speed  float64 // inputs that the model computes a second, by its latest batches; 0 before the first
}

// full is whether a request would be refused for the number of those before it.
func (a *admission) full() *problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inputs >= a.limits.Queue || a.slow(0) {
		return a.busy()
	}
	return nil
}

// slow is whether the model would hardly come to n more inputs in time. A slow model's queue is
// shorter than a fast one's: what is accepted should be answered. Alone, a request is always let
// in.
func (a *admission) slow(n int) bool {
	if a.speed == 0 || a.inputs == 0 {
		return false
	}
	wait := a.limits.Wait.Seconds() * a.speed // inputs until the end of patience
	return float64(a.inputs) > 0.5*wait || float64(a.inputs+n) > 0.8*wait
}

// ran tells that a batch of n inputs took so long.
func (a *admission) ran(n int, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	speed := float64(n) / max(took.Seconds(), 1e-6)
	if a.speed > 0 {
		speed = 0.8*a.speed + 0.2*speed
	}
	a.speed = speed
}

// enter accepts n inputs or refuses them. Each is taken away by leave.
func (a *admission) enter(n int) *problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inputs+n > a.limits.Queue || a.slow(n) {
		return a.busy()
	}
	a.inputs += n
	return nil
}

func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inputs--
}

// busy is the answer to those for whom there is no room: when there will be, to judge by the latest
// batches.
func (a *admission) busy() *problem {
	p := refuse(http.StatusTooManyRequests, "queue_full", "", "the queue is full; ask again after the seconds of Retry-After")
	p.retry = 1
	if a.speed > 0 {
		p.retry = min(max(int(math.Ceil(float64(a.inputs)/a.speed)), 1), 60)
	}
	return p
}

// depth is how many inputs are accepted and not yet computed, and how many bytes of requests are
// held.
func (a *admission) depth() (inputs int, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inputs, a.bytes
}

// body is a request's body that counts its bytes in admission until it is released, and bounds
// them.
type body struct {
	from io.Reader
	a    *admission
	n    int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.n += int64(n)
	b.a.mu.Lock()
	b.a.bytes += int64(n)
	over := b.a.bytes > b.a.limits.Bodies
	var busy *problem
	if over {
		busy = b.a.busy()
	}
	b.a.mu.Unlock()
	switch {
	case over:
		busy.code, busy.message = "memory_full", "too many bytes of other requests are being answered; ask again after the seconds of Retry-After"
		return n, busy
	case err != nil && !errors.Is(err, io.EOF):
		return n, bodyProblem(err, b.a.limits)
	}
	return n, err
}

// bodies are what one request holds.
type bodies []*body

// read reads all of r, which admission then counts until release.
func (list *bodies) read(r io.Reader, a *admission) ([]byte, error) {
	b := &body{from: r, a: a}
	*list = append(*list, b)
	return io.ReadAll(b)
}

func (list *bodies) release() {
	for _, b := range *list {
		b.release()
	}
}

func (b *body) release() {
	b.a.mu.Lock()
	defer b.a.mu.Unlock()
	b.a.bytes -= b.n
	b.n = 0
}

// bodyProblem says in a sentence why a body could not be read.
func bodyProblem(err error, l Limits) *problem {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return refuse(http.StatusRequestEntityTooLarge, "body_too_large", "", fmt.Sprintf("the request has more than %d bytes", l.Body))
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuse(http.StatusRequestTimeout, "body_too_slow", "", fmt.Sprintf("the request did not arrive within %s", l.Read))
	default:
		return badRequest("", "the request's body ended early")
	}
}
