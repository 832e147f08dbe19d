package train

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/goclip/goclip/internal/estimate"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/data"
	"github.com/goclip/goclip/train/tensorboard"
)

// watcher is how a run is looked at from outside: its log, its records, TensorBoard's files,
// Prometheus' page, and what a step's figures are measured by. Of several processes the first
// writes.
type watcher struct {
	c           *Config
	first       bool
	log         io.Writer
	records     *records
	began       time.Time
	from        int     // steps done before this sitting
	total       int     // steps of the run
	warmup      int     // of them
	chance      float64 // the loss at chance level; 0: unknown
	products    torch.DType
	splits      bool
	device      torch.Device
	utilisation utilisation
	atChance    chanceRun
	waiting     waiting
	bad         badSamples
	board       *tensorboard.Writer // nil without TensorBoard
	metrics     *exporter           // nil without MetricsAddr
}

// newWatcher writes to Config.Log until there are files.
func newWatcher(c *Config, first bool) *watcher {
	w := &watcher{c: c, first: first, log: io.Discard, records: &records{evaluated: -1}}
	if first && c.Log != nil {
		w.log = c.Log
	}
	return w
}

// listen takes the address of metrics.
func (w *watcher) listen() (err error) {
	if w.first && w.c.MetricsAddr != "" && w.metrics == nil {
		if w.metrics, err = listen(w.c.MetricsAddr); err != nil {
			return w.c.errorf("{MetricsAddr} %s: %w", w.c.MetricsAddr, err)
		}
	}
	return nil
}

// open begins to watch t, whose files are there.
func (w *watcher) open(t *Trainer) (err error) {
	w.began, w.from = time.Now(), t.state.Step
	w.total, w.warmup, w.chance, w.device, w.products, w.splits = t.total, t.warmup, t.chance(t.batch()), t.device, t.precision.computes(), t.precision.splits
	if estimable(t.model) {
		cost := estimate.StepCostOf(t.model)
		w.utilisation.cost = func(tokens []int64) float64 { return cost.FLOPs(estimate.Lengths(t.model, tokens, w.products)) }
	}
	if !w.first {
		return nil
	}
	switch out := w.records.out; {
	case out != nil && w.c.Log != nil:
		w.log = &tee{people: w.c.Log, file: out}
	case out != nil:
		w.log = out
	}
	for _, note := range slices.Concat(w.c.Notes, t.notes) {
		w.logf("%s", note)
	}
	if w.metrics != nil {
		w.logf("metrics at http://%s/metrics", w.metrics.addr)
	}
	if w.utilisation.peak, err = measurePeak(w.device, w.products, w.splits); err != nil {
		return err
	}
	if w.c.TensorBoard && t.dir != "" {
		next := 0 // the first step that has yet to be done, of a resumed run
		if t.state.Step > 0 {
			next = t.state.Step + 1
		}
		w.board, err = tensorboard.Open(filepath.Join(t.dir, "tensorboard"), next)
	}
	return err
}

// tee is the log for people and in the run's directory. Neither keeps the other from a line.
type tee struct {
	people, file io.Writer
	gone         bool // who read the pipe for people
}

func (t *tee) Write(text []byte) (int, error) {
	n, err := t.file.Write(text)
	if t.gone {
		return n, err
	}
	if _, fault := t.people.Write(text); errors.Is(fault, syscall.EPIPE) {
		t.gone = true
		fmt.Fprintf(t.file, "%s nobody reads the log any more (%v); training continues, and the rest is here alone\n", stamp(), fault)
	}
	return n, err
}

// stamp begins a line of the log.
func stamp() string { return time.Now().Format(time.DateTime) }

// logf writes a line of the log, or several.
func (w *watcher) logf(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintf(w.log, "%s %s\n", stamp(), line)
	}
}

// summarise tells what the steps of this sitting came to.
func (w *watcher) summarise() {
	if u := w.utilisation; u.seconds > 0 {
		w.logf("model FLOPs utilisation %.1f%%: %.4g TFLOP in %.0f s of steps, at a measured speed of %.1f GFLOP/s", 100*u.total(), u.done/1e12, u.seconds, u.peak/1e9)
	}
}

func (w *watcher) close() (err error) {
	if w.board != nil {
		err = w.board.Close()
	}
	w.metrics.close()
	w.board, w.metrics = nil, nil
	if closeErr := w.records.close(); err == nil {
		err = closeErr
	}
	w.log = io.Discard
	return err
}

// measure completes a step's figures from what it was done on.
func (w *watcher) measure(s *Step, micros []*micro) {
	var captions []int64
	length, cost, u := 1, 0.0, &w.utilisation
	for _, m := range micros {
		tokens := torch.ToSlice[int64](m.tokens)
		length = len(tokens) / m.n
		if u.cost != nil {
			cost += u.cost(tokens)
		}
		captions = append(captions, tokens...)
	}
	if cost > u.peak*s.StepTime { // then other programs slowed the measurement down
		again, err := measurePeak(w.device, w.products, w.splits)
		if err != nil {
			w.logf("the speed of a matrix product cannot be measured: %v", err)
		}
		u.peak = max(again, cost/s.StepTime)
	}
	s.MFU = u.share(cost, s.StepTime)
	s.DuplicateCaptions = duplicates(captions, length)
}

// step records and reports a step, and warns once of a loss that stays at
// chance level.
func (w *watcher) step(s Step, training *data.Loader) error {
	if err := w.records.step(s); err != nil {
		return err
	}
	w.metrics.step(s, w.total, len(training.Bad()))
	if w.atChance.stays(s.Loss, w.chance) {
		w.logf("WARNING: the loss has stayed within 1%% of %.3f, chance level, for %d steps: nothing is learned", w.chance, chanceSteps)
		w.logf(w.c.words("try another {LR} (it is %.3g now; {Warmup} %d)"), s.LR, w.warmup)
		w.logf("see that captions belong to their images: of this batch %.0f%% repeat another's", 100*s.DuplicateCaptions)
		w.logf("%s 32 reports whether model and data can be learned at all", w.c.name("Overfit"))
	}
	w.waiting.add(s)
	if s.Step%w.c.LogEvery == 0 || s.Step == 1 || s.Step == w.total {
		w.line(s)
		if err := w.boardStep(s); err != nil {
			return err
		}
	}
	if s.Step%w.c.LogEvery == 0 || s.Step == w.total {
		if verdict := w.waiting.verdict(w.c, runtime.GOMAXPROCS(0)); verdict != "" {
			w.logf("%s", verdict)
		}
	}
	return nil
}

// line is a step's in the log: how far the run is, and how well it does.
func (w *watcher) line(s Step) {
	chance, duplicate := "", ""
	if w.chance > 0 {
		chance = fmt.Sprintf(" (chance %.4f)", w.chance)
	}
	if s.DuplicateCaptions > 0 {
		duplicate = fmt.Sprintf(", duplicate captions %.0f%%", 100*s.DuplicateCaptions)
	}
	left := time.Since(w.began) / time.Duration(s.Step-w.from) * time.Duration(w.total-s.Step)
	w.logf("step %d/%d epoch %d loss %.4f%s lr %.3g %.0f images/s ETA %s", s.Step, w.total, s.Epoch, s.Loss, chance, s.LR, s.SamplesPerSecond, clock(left))
	w.logf("  accuracy %.3f, scale %.2f, gradient norm %.2f, MFU %.1f%%, waiting for data %.0f%%%s",
		s.Accuracy, s.LogitScale, s.GradNorm, 100*s.MFU, 100*s.DataTime/s.StepTime, duplicate)
}

// clock is a time that is left: "1:02:03", "3d 04:05".
func clock(d time.Duration) string {
	minutes := int(d.Minutes())
	if d >= 24*time.Hour {
		return fmt.Sprintf("%dd %02d:%02d", minutes/(24*60), minutes/60%24, minutes%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", minutes/60, minutes%60, int(d.Seconds())%60)
}

// plot draws loss.png.
func (w *watcher) plot() error { return w.records.plot(w.chance) }

// boarded closes TensorBoard's file if the disk is full: what is half-written would end its reading
// in any case.
func (w *watcher) boarded(err error) error {
	if !full(err) {
		return err
	}
	w.logf("WARNING: %v: TensorBoard's file ends here; metrics.jsonl continues", err)
	_ = w.board.Close()
	w.board = nil
	return nil
}

// boardStep writes a step's figures under open_clip's names (open_clip_train/train.py,
// train_one_epoch) and goclip's own under its own.
func (w *watcher) boardStep(s Step) error {
	if w.board == nil {
		return nil
	}
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"data_time", s.DataTime}, {"batch_time", s.StepTime}, {"samples_per_second", s.SamplesPerSecond}, {"scale", s.LogitScale}, {"lr", s.LR},
		{"contrastive_loss", s.Loss}, {"loss", s.Loss},
		{"grad_norm", s.GradNorm}, {"mfu", s.MFU}, {"duplicate_captions", s.DuplicateCaptions}, {"accuracy", s.Accuracy},
	} {
		if err := w.board.Scalar("train/"+p.name, s.Step, p.value); err != nil {
			return w.boarded(err)
		}
	}
	return w.boarded(w.board.Flush())
}

// result writes an evaluation as open_clip does: against the epoch.
func (w *watcher) result(epoch int, metrics Metrics) error {
	w.metrics.result(metrics)
	if w.board == nil {
		return nil
	}
	for name, value := range metrics {
		if name == "step" || name == "epoch" {
			continue
		}
		if err := w.board.Scalar("val/"+name, epoch, value); err != nil {
			return w.boarded(err)
		}
	}
	return w.boarded(w.board.Flush())
}

// chance is the loss at chance level among n pairs: ln n or, of the sigmoid loss, what the best
// constant answer to each of the n x n questions costs; 0, unknown, for a loss of the caller's.
func (t *stepper) chance(n int) float64 {
	if t.lossOf != nil {
		return 0
	}
	chance := math.Log(float64(n))
	if t.model.LogitBias != nil && n > 1 {
		chance += float64(n-1) * math.Log(float64(n)/float64(n-1))
	}
	if t.teacher != nil { // whatever it is sure of, a uniform prediction costs ln n against it too
		chance *= 2
	}
	return chance
}

// chanceSteps is how many steps in a row a loss may be at chance level.
const chanceSteps = 100

// chanceRun counts such steps.
type chanceRun struct{ steps int }

// stays tells once, when the last of chanceSteps steps comes.
func (g *chanceRun) stays(loss, chance float64) bool {
	if chance == 0 || math.Abs(loss-chance) > 0.01*chance {
		g.steps = min(g.steps, 0)
		return false
	}
	g.steps++
	if g.steps < chanceSteps {
		return false
	}
	g.steps = math.MinInt // never again
	return true
}

// duplicates is the fraction of captions, rows of so many tokens, that occur earlier in a batch: each
// of them is a wrong answer that is right.
func duplicates(tokens []int64, length int) float64 {
	seen, repeated, n := map[string]bool{}, 0, len(tokens)/length
	for i := range n {
		key := captionKey(tokens[i*length : (i+1)*length])
		if seen[key] {
			repeated++
		}
		seen[key] = true
	}
	return float64(repeated) / float64(max(n, 1))
}

// captionKey is a caption's tokens, as a map's key.
func captionKey(tokens []int64) string {
	key := make([]byte, 0, 3*len(tokens))
	for _, id := range tokens {
		key = append(key, byte(id), byte(id>>8), byte(id>>16))
	}
	return string(key)
}
