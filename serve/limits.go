package serve

import (
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Limits bound what clients may cost. A field that is zero takes its value from [DefaultLimits].
type Limits struct {
	Body      int64 // bytes of a request
	Bodies    int64 // bytes of all requests that are being answered; what they become takes about twice as much again, and large answers as much
	Decoding  int64 // bytes that decoding holds at one time, by what the images' headers tell; the next one waits
	Pixels    int64 // width times height of an image, read from its header before anything is decoded
	Side      int   // pixels that the shorter side of an image has at least: one of 1x1 shows nothing
	Inputs    int   // texts and images of a request; more than fit into the queue go through it in parts
	TextBytes int   // of a text; the model reads far less
	Queue     int   // texts and images that are accepted and not yet computed; beyond it, 429

	BatchSize int           // texts or images that go through the model together
	Window    time.Duration // that the first of a batch waits for others at most
	Decoders  int           // images decoded at a time; 0 is the CPUs there are

	Wait  time.Duration // for the model; beyond it, 429
	Read  time.Duration // for a whole request to arrive; beyond it, 408
	Write time.Duration // for a client to take its answer, from the end of its request's header on
	Idle  time.Duration // between the requests of a connection
	Grace time.Duration // for what was accepted, when the server ends
}

// DefaultLimits are good for photographs and a machine with 4 GB of memory.
var DefaultLimits = Limits{
	Body: 32 << 20, Bodies: 256 << 20, Decoding: 1 << 30, Pixels: 50e6, Side: 2, Inputs: 2048, TextBytes: 10_000, Queue: 512,
	BatchSize: 32, Window: 5 * time.Millisecond,
	Wait: 30 * time.Second, Read: 20 * time.Second, Write: 90 * time.Second, Idle: 2 * time.Minute, Grace: 30 * time.Second,
}

// filled has the defaults in the place of zeros, and says what cannot be.
func (l Limits) filled() (Limits, error) {
	v, d := reflect.ValueOf(&l).Elem(), reflect.ValueOf(DefaultLimits)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			v.Field(i).Set(d.Field(i))
		}
		if n := v.Field(i).Int(); n < 0 {
			return l, fmt.Errorf("serve: Limits.%s %d: must be positive", v.Type().Field(i).Name, n)
		}
	}
	if l.Body > l.Bodies {
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
	paces  []*pace
}

// pace is what a model has before it and how fast it is. Admission's mu guards it.
type pace struct {
	inputs int
	warm   bool    // a batch was computed
	speed  float64 // inputs that the model computes a second, by its latest batches; 0 before the second
}

func (a *admission) newPace() *pace {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &pace{}
	a.paces = append(a.paces, p)
	return p
}

// forget takes a model away that computes nothing any more, with the inputs that it leaves behind: those of
// requests that have gone.
func (a *admission) forget(p *pace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inputs -= p.inputs
	a.paces = slices.DeleteFunc(a.paces, func(other *pace) bool { return other == p })
}

// full is whether a request would be refused for the number of those before it, whichever model it
// means.
func (a *admission) full() *problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	free := func(p *pace) bool { return !a.slow(p, 0) }
	if a.inputs >= a.limits.Queue || len(a.paces) > 0 && !slices.ContainsFunc(a.paces, free) {
		return a.busy()
	}
	return nil
}

// slow is whether the model would hardly come to n more inputs in time. A slow model's queue is
// shorter than a fast one's: what is accepted should be answered. Alone, a request is always let
// in.
func (a *admission) slow(p *pace, n int) bool {
	if p.speed == 0 || p.inputs == 0 {
		return false
	}
	wait := a.limits.Wait.Seconds() * p.speed // inputs until the end of patience
	return float64(p.inputs) > 0.5*wait || float64(p.inputs+n) > 0.8*wait
}

// ran records that a batch of n inputs took this long.
func (a *admission) ran(p *pace, n int, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !p.warm { // the first batch pays for what the kernels prepare
		p.warm = true
		return
	}
	speed := float64(n) / max(took.Seconds(), 1e-6)
	if p.speed > 0 {
		speed = 0.8*p.speed + 0.2*speed
	}
	p.speed = speed
}

// enter accepts n inputs for a model or refuses them. Each is taken away by leave.
func (a *admission) enter(p *pace, n int) *problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inputs+n > a.limits.Queue || a.slow(p, n) {
		return a.busy()
	}
	a.inputs += n
	p.inputs += n
	return nil
}

func (a *admission) leave(p *pace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inputs--
	p.inputs--
}

// busy is the answer to those for whom there is no room: when there will be, to judge by the latest
// batches.
func (a *admission) busy() *problem {
	busy := refuse(http.StatusTooManyRequests, "queue_full", "", "the queue is full; ask again after the seconds of Retry-After")
	busy.retry = 1
	for _, p := range a.paces {
		if p.speed > 0 {
			busy.retry = min(max(int(math.Ceil(float64(p.inputs)/p.speed)), busy.retry), 60)
		}
	}
	return busy
}

// depth is how many inputs are accepted and not yet computed, and how many bytes of requests are
// held.
func (a *admission) depth() (inputs int, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inputs, a.bytes
}
