package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/torch"
)

// job is one text or image on its way through the model.
type job struct {
	ctx   context.Context // of its request: what nobody waits for is not computed
	group *group
	at    int // its place in the group

	file []byte  // an encoded image
	ids  []int64 // or a text's tokens, padded to the context length

	pixels        []float32 // (3, R, R), when the image is decoded
	width, height int       // of the image as it was given
	since         time.Time // when it came to wait for the model
}

// group is what one request waits for.
type group struct {
	rows [][]float32 // (E) each, L2-normalised; nil where errs has why
	errs []error
	left atomic.Int32
	done chan struct{}
}

// batcher runs a model on batches that gather the inputs of all requests.
type batcher struct {
	server    *Server
	model     *clip.Model
	transform *preprocess.Transform
	limits    Limits
	decoding  preprocess.Limits
	pace      *pace

	files   chan *job // encoded images; as long as the queue, so that sending never blocks
	texts   chan *job // tokens; likewise
	images  chan *job // decoded: two batches, however many wait, because pixels take the memory
	buffers sync.Pool // of pixels
	stop    chan struct{}
	ended   sync.WaitGroup
}

func newBatcher(s *Server, m *clip.Model) (*batcher, error) {
	transform, err := m.Transform()
	if err != nil {
		return nil, err
	}
	l := s.limits
	b := &batcher{server: s, model: m, limits: l, pace: s.admission.newPace(),
		decoding: preprocess.Limits{MaxPixels: l.Pixels, MaxBytes: l.Body, MaxMemory: l.Decoding, Orient: s.orient},
		files:    make(chan *job, l.Queue), texts: make(chan *job, l.Queue),
		images: make(chan *job, 2*l.BatchSize), stop: make(chan struct{})}
	b.transform = transform.WithLimits(b.decoding)
	b.buffers.New = func() any { pixels := make([]float32, transform.Len()); return &pixels }
	for range cap(s.decoders) {
		b.ended.Go(b.decode)
	}
	b.ended.Go(b.run)
	return b, nil
}

// close ends the goroutines. Nothing may be waiting any more.
func (b *batcher) close() {
	close(b.stop)
	b.ended.Wait()
	b.server.admission.forget(b.pace)
}

// submit queues jobs, for which admission has made room, and waits until all are done or ctx ends.
func (b *batcher) submit(ctx context.Context, jobs []*job) (*group, error) {
	g := &group{rows: make([][]float32, len(jobs)), errs: make([]error, len(jobs)), done: make(chan struct{})}
	if len(jobs) == 0 {
		return g, nil
	}
	g.left.Store(int32(len(jobs)))
	for i, j := range jobs {
		j.ctx, j.group, j.at, j.since = ctx, g, i, time.Now()
		if j.file != nil {
			b.files <- j
		} else {
			b.texts <- j
		}
	}
	select {
	case <-g.done:
		return g, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// finish gives a job its row or its error. Each job is finished once.
func (b *batcher) finish(j *job, row []float32, err error) {
	b.server.admission.leave(b.pace)
	j.group.rows[j.at], j.group.errs[j.at] = row, err
	if pixels := j.pixels; pixels != nil {
		j.pixels = nil
		b.buffers.Put(&pixels)
	}
	j.file = nil
	if j.group.left.Add(-1) == 0 {
		close(j.group.done)
	}
}

// decode makes pixels of files.
func (b *batcher) decode() {
	for {
		select {
		case <-b.stop:
			return
		case j := <-b.files:
			if err := b.pixels(j); err != nil {
				b.finish(j, nil, err)
				continue
			}
			j.since = time.Now()
			select {
			case b.images <- j:
			case <-b.stop: // only those that nobody waits for are left
				return
			}
			runtime.Gosched() // a request that is refused should not wait for the end of a time slice
		}
	}
}

// pixels decodes one image, under the limits, when there is memory for it.
func (b *batcher) pixels(j *job) error {
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	head, err := preprocess.ReadHeader(j.file, b.decoding)
	if err != nil {
		return imageProblem(err)
	}
	if min(head.Width, head.Height) < b.limits.Side {
		return refuse(http.StatusUnprocessableEntity, "image_too_small", "",
			fmt.Sprintf("the image has %dx%d pixels; both sides must have at least %d", head.Width, head.Height, b.limits.Side))
	}
	if err := b.server.decoding.Acquire(j.ctx, head.Memory); err != nil {
		return context.Cause(j.ctx)
	}
	defer b.server.decoding.Release(head.Memory)
	b.server.decoders <- struct{}{} // other models decode too
	defer func() { <-b.server.decoders }()
	start := time.Now()
	pixels := *b.buffers.Get().(*[]float32)
	j.width, j.height, err = b.transform.Sized(j.ctx, pixels, j.file, "")
	if err != nil {
		b.buffers.Put(&pixels)
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		return imageProblem(err)
	}
	j.pixels, j.file = pixels, nil
	b.server.metrics.stage("decode", time.Since(start))
	return nil
}

// run is the goroutine that runs the model, a batch after the other.
func (b *batcher) run() {
	slab := make([]float32, b.limits.BatchSize*b.transform.Len())
	for {
		select {
		case <-b.stop:
			return
		case j := <-b.images:
			b.forward("image", b.gather(j, b.images), func(jobs []*job) ([]float32, error) {
				n := b.transform.Len()
				for i, j := range jobs {
					copy(slab[i*n:], j.pixels)
				}
				return b.model.ImageFeatures(slab[:len(jobs)*n], len(jobs))
			})
		case j := <-b.texts:
			b.forward("text", b.gather(j, b.texts), func(jobs []*job) ([]float32, error) {
				ids := make([]int64, 0, len(jobs)*b.model.ContextLength())
				for _, j := range jobs {
					ids = append(ids, j.ids...)
				}
				return b.model.TextFeatures(ids, len(jobs))
			})
		}
	}
}

// gather closes a batch when it is full, or when its first job has waited for the window. What came
// while the model was busy has waited already.
func (b *batcher) gather(first *job, queue <-chan *job) []*job {
	jobs := []*job{first}
	wait := time.NewTimer(b.limits.Window - time.Since(first.since))
	defer wait.Stop()
	for len(jobs) < b.limits.BatchSize {
		select {
		case j := <-queue:
			jobs = append(jobs, j)
			continue
		default:
		}
		select {
		case j := <-queue:
			jobs = append(jobs, j)
		case <-wait.C:
			return jobs
		}
	}
	return jobs
}

// forward runs one batch and hands out its rows. Jobs whose requests have gone are left out. The
// models of a server take turns: each batch has all threads.
func (b *batcher) forward(tower string, jobs []*job, run func([]*job) ([]float32, error)) {
	b.server.turn <- struct{}{}
	defer func() { <-b.server.turn }()
	start := time.Now()
	wanted := jobs[:0:0]
	for _, j := range jobs {
		if j.ctx.Err() != nil {
			b.finish(j, nil, context.Cause(j.ctx))
			continue
		}
		b.server.metrics.stage("queue", start.Sub(j.since))
		wanted = append(wanted, j)
	}
	if len(wanted) == 0 {
		return
	}
	rows, err := b.guarded(wanted, run)
	took := time.Since(start)
	b.server.metrics.batch(tower, len(wanted), took)
	b.server.admission.ran(b.pace, len(wanted), took)
	if err != nil {
		b.server.log.Error("a batch could not be computed", "model", b.model.Name, "tower", tower, "size", len(wanted), "error", err)
	}
	if errors.Is(err, torch.ErrDeviceLost) {
		b.server.lose(err)
	}
	width := b.model.Config.EmbedDim
	for i, j := range wanted {
		if err != nil {
			b.finish(j, nil, err)
			continue
		}
		b.finish(j, rows[i*width:(i+1)*width:(i+1)*width], nil)
	}
}

var errRows = errors.New("the model gave another number of rows than it was given inputs")

// guarded turns a panic into an error: the next batch is not to blame for this one.
func (b *batcher) guarded(jobs []*job, run func([]*job) ([]float32, error)) (rows []float32, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	rows, err = run(jobs)
	if err == nil && len(rows) != len(jobs)*b.model.Config.EmbedDim {
		err = errRows
	}
	return rows, err
}
