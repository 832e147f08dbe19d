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

	image bool
	file  atomic.Pointer[[]byte] // an encoded image; nil when it was decoded, or its client has gone
	ids   []int64                // or a text's tokens, padded to the context length

	pixels        []float32 // (3, R, R), when the image is decoded
	width, height int       // of the image as it was given
	since         time.Time // when it came to wait for the model
}

func imageJob(file []byte) *job {
	j := &job{image: true}
	j.file.Store(&file)
	return j
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
	runners   int // batches at a time

	files   chan *job  // encoded images; as long as the queue, so that sending never blocks
	texts   chan *job  // tokens; likewise
	images  chan *job  // decoded: two batches, however many wait, because pixels take the memory
	spare   chan batch // a part of a batch, for a runner that has nothing to do
	buffers sync.Pool  // of pixels
	stop    chan struct{}
	ended   sync.WaitGroup
}

func newBatcher(s *Server, m *clip.Model) (*batcher, error) {
	transform, err := m.Transform()
	if err != nil {
		return nil, err
	}
	l := s.limits
	b := &batcher{server: s, model: m, limits: l, runners: s.runners(m), pace: s.admission.newPace(),
		decoding: preprocess.Limits{MaxPixels: l.Pixels, MaxBytes: l.Body, MaxMemory: l.Decoding, Orient: s.orient, NoSystem: s.noSystem},
		files:    make(chan *job, l.Queue), texts: make(chan *job, l.Queue),
		images: make(chan *job, 2*l.BatchSize), spare: make(chan batch), stop: make(chan struct{})}
	b.transform = transform.WithLimits(b.decoding)
	b.buffers.New = func() any { pixels := make([]float32, transform.Len()); return &pixels }
	for range cap(s.decoders) {
		b.ended.Go(b.decode)
	}
	for range b.runners {
		b.ended.Go(b.run)
	}
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
		if j.image {
			b.files <- j
		} else {
			b.texts <- j
		}
	}
	select {
	case <-g.done:
		return g, nil
	case <-ctx.Done():
		for _, j := range jobs { // the queue may have them for a while yet, and their bytes are not counted any more
			j.file.Store(nil)
		}
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
	held := j.file.Swap(nil)
	if held == nil || j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	file := *held
	head, err := preprocess.ReadHeader(file, b.decoding)
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
	select {
	case b.server.decoders <- struct{}{}: // other models decode too
	case <-j.ctx.Done():
		return context.Cause(j.ctx)
	}
	defer func() { <-b.server.decoders }()
	start := time.Now()
	pixels := *b.buffers.Get().(*[]float32)
	j.width, j.height, err = b.transform.Sized(j.ctx, pixels, file, "")
	if err != nil {
		b.buffers.Put(&pixels)
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		return imageProblem(err)
	}
	j.pixels = pixels
	b.server.stage(j, "decode", start, time.Now())
	return nil
}

// batch are jobs that go through a tower together.
type batch struct {
	tower    string // image or text
	jobs     []*job
	features func(jobs []*job, slab []float32) ([]float32, error) // slab has room for the pixels of a full batch
}

// runners are how many batches of a model are computed at a time: two on a CPU, each with half of the
// threads. A kernel's threads wait for each other at its end, and while decoding and requests take
// one of the CPUs, a kernel of all threads leaves the others idle.
func (s *Server) runners(m *clip.Model) int {
	if m.Device().Type != "cuda" && s.threads > 1 {
		return 2
	}
	return 1
}

// few inputs are computed with all threads, if nothing else is.
const few = 4

// run is a goroutine that runs the model, a batch after the other.
func (b *batcher) run() {
	slab := make([]float32, b.limits.BatchSize*b.transform.Len())
	for {
		select {
		case <-b.stop:
			return
		case j := <-b.images:
			b.share(batch{"image", b.gather(j, b.images), b.imageRows}, slab)
		case j := <-b.texts:
			b.share(batch{"text", b.gather(j, b.texts), b.textRows}, slab)
		case part := <-b.spare:
			b.forward(part, slab)
		}
	}
}

// share gives half of a batch to a runner that has nothing to do.
func (b *batcher) share(all batch, slab []float32) {
	if half := len(all.jobs) / 2; half >= few {
		select {
		case b.spare <- batch{all.tower, all.jobs[half:], all.features}:
			all.jobs = all.jobs[:half]
		default:
		}
	}
	b.forward(all, slab)
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

// forward runs one batch and hands out its rows. Jobs whose requests have gone are left out.
func (b *batcher) forward(all batch, slab []float32) {
	threads := b.take(len(all.jobs))
	defer b.server.turn.Release(threads)
	start := time.Now()
	wanted := all.jobs[:0:0]
	for _, j := range all.jobs {
		if j.ctx.Err() != nil {
			b.finish(j, nil, context.Cause(j.ctx))
			continue
		}
		b.server.stage(j, "queue", j.since, start)
		wanted = append(wanted, j)
	}
	if len(wanted) == 0 {
		return
	}
	all.jobs = wanted
	rows, err := b.guarded(all, int(threads), slab)
	end := time.Now()
	took := end.Sub(start)
	b.server.metrics.batch(all.tower, len(wanted), took)
	for _, j := range wanted {
		b.server.span(j, "forward_"+all.tower, start, end, len(wanted))
	}
	b.server.admission.ran(b.pace, len(wanted), took*time.Duration(threads)/time.Duration(b.server.threads))
	if err != nil {
		b.server.log.Error("a batch could not be computed", "model", b.model.Name, "tower", all.tower, "size", len(wanted), "error", err)
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

// take waits for the threads of a batch of n inputs: all of them for few inputs beside which nothing
// is computed, else a runner's part. Models take turns at them.
func (b *batcher) take(n int) (threads int64) {
	all := int64(b.server.threads)
	threads = all / int64(b.runners)
	if n < few && b.server.turn.TryAcquire(all) {
		return all
	}
	_ = b.server.turn.Acquire(context.Background(), threads) // which does not end
	return threads
}

// guarded turns a panic into an error: the next batch is not to blame for this one.
func (b *batcher) guarded(all batch, threads int, slab []float32) (rows []float32, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	torch.WithThreads(threads, func() { rows, err = all.features(all.jobs, slab) })
	if err == nil && len(rows) != len(all.jobs)*b.model.Config.EmbedDim {
		err = errRows
	}
	return rows, err
}

func (b *batcher) imageRows(jobs []*job, slab []float32) ([]float32, error) {
	n := b.transform.Len()
	for i, j := range jobs {
		copy(slab[i*n:], j.pixels)
	}
	return b.model.ImageFeatures(slab[:len(jobs)*n], len(jobs))
}

func (b *batcher) textRows(jobs []*job, _ []float32) ([]float32, error) {
	ids := make([]int64, 0, len(jobs)*b.model.ContextLength())
	for _, j := range jobs {
		ids = append(ids, j.ids...)
	}
	return b.model.TextFeatures(ids, len(jobs))
}
