package train

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"github.com/goclip/goclip/internal/estimate"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/train/tensorboard"
)

// watch is how a run is looked at from outside, beside its log: TensorBoard's files, Prometheus' page, and what a
// step's figures are measured by.
type watch struct {
	utilisation utilisation
	guessing    guessing
	board       *tensorboard.Writer // nil without --report-to tensorboard
	metrics     *exporter           // nil without --metrics-addr
}

// openWatch begins to be looked at. Nothing before it has been written, but a port in use was refused by then.
func (r *run) openWatch() (err error) {
	if r.watch.metrics != nil {
		r.logf("metrics at http://%s/metrics", r.watch.metrics.addr)
	}
	r.watch.utilisation.cost = estimate.StepCostOf(r.model)
	if r.watch.utilisation.peak, err = measurePeak(r.device, r.precision.computes()); err != nil {
		return err
	}
	if r.o.reportsTo("tensorboard") {
		r.watch.board, err = tensorboard.Open(filepath.Join(r.dir, "tensorboard"), r.nextStep())
	}
	return err
}

// summariseWatch tells what the steps of this sitting came to.
func (r *run) summariseWatch() float64 {
	u := r.watch.utilisation
	mfu := u.total()
	if u.seconds > 0 {
		r.logf("model FLOPs utilisation %.1f%%: %.4g TFLOP in %.0f s of steps, at a measured speed of %.1f GFLOP/s", 100*mfu, u.done/1e12, u.seconds, u.peak/1e9)
	}
	return mfu
}

// nextStep is the first step that has yet to be done, of a run that goes on, else 0.
func (r *run) nextStep() int {
	if r.state.Step == 0 {
		return 0
	}
	return r.state.Step + 1
}

func (r *run) closeWatch() (err error) {
	if r.watch.board != nil {
		err = r.watch.board.Close()
	}
	r.watch.metrics.close()
	return err
}

// accuracyPictures is how many of a batch's pictures look for their text.
const accuracyPictures = 256

// accuracy is how many of a batch's first pictures find their text by the normalised features (n, E), ().
func (r *run) accuracy(images, texts *torch.Tensor) *torch.Tensor {
	n := min(images.Size(0), accuracyPictures)
	nearest := images.Narrow(0, 0, n).MatMul(texts.T()).Argmax(1)
	return nearest.Eq(torch.ArangeLike(texts, n)).To(r.device, torch.Float32).Mean()
}

// measureStep completes a step's figures from what it was done on.
func (r *run) measureStep(s *Step, micros []*micro) {
	length := r.model.ContextLength()
	var captions []int64
	cost, u := 0.0, &r.watch.utilisation
	for _, m := range micros {
		tokens := torch.ToSlice[int64](m.tokens)
		cost += u.cost.FLOPs(estimate.Lengths(r.model, tokens, r.precision.computes()))
		captions = append(captions, tokens...)
	}
	if cost > u.peak*s.StepTime { // then other programs slowed the measurement down
		again, err := measurePeak(r.device, r.precision.computes())
		if err != nil {
			r.logf("the speed of a matrix product cannot be measured: %v", err)
		}
		u.peak = max(again, cost/s.StepTime)
	}
	s.MFU = u.share(cost, s.StepTime)
	s.DuplicateCaptions = duplicates(captions, length)
}

// watchStep tells of a step to who looks on, and warns once of a loss that stays at guessing.
func (r *run) watchStep(s Step) error {
	r.watch.metrics.step(s, r.total, len(r.loader.Bad()))
	chance := r.chance(r.batch())
	if r.watch.guessing.stays(s.Loss, chance) {
		r.logf("the loss has stayed within 1%% of %.3f, that of guessing, for %d steps: nothing is learned. Try another --lr (it is %.3g now, of --warmup %d steps), "+
			"see that captions belong to their pictures (of this batch %.0f%% repeat another's), or let --overfit 32 tell whether model and data can be learned at all",
			chance, guessingSteps, s.LR, r.warmup, 100*s.DuplicateCaptions)
	}
	if !r.logs(s) {
		return nil
	}
	duplicate := ""
	if s.DuplicateCaptions > 0 {
		duplicate = fmt.Sprintf(", %.0f%% duplicate captions", 100*s.DuplicateCaptions)
	}
	r.logf("step %d/%d epoch %d loss %.4f (guessing %.4f) accuracy %.3f scale %.2f lr %.3g norm %.2f %.0f pictures/s, MFU %.1f%%, %.0f%% of the time waiting for data%s",
		s.Step, r.total, s.Epoch, s.Loss, chance, s.Accuracy, s.LogitScale, s.LR, s.GradNorm, s.SamplesPerSecond, 100*s.MFU, 100*s.DataTime/s.StepTime, duplicate)
	return r.boardStep(s)
}

// logs tells whether a step has its line in the log.
func (r *run) logs(s Step) bool {
	return s.Step%max(r.o.LogEvery, 1) == 0 || s.Step == 1 || s.Step == r.total
}

// boardStep writes a step's figures under open_clip's names (open_clip_train/train.py, train_one_epoch) and goclip's
// own under its own.
func (r *run) boardStep(s Step) error {
	if r.watch.board == nil {
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
		if err := r.watch.board.Scalar("train/"+p.name, s.Step, p.value); err != nil {
			return err
		}
	}
	return r.watch.board.Flush()
}

// boardResult writes an evaluation as open_clip does: against the epoch.
func (r *run) boardResult(metrics map[string]float64) error {
	r.watch.metrics.result(metrics)
	if r.watch.board == nil {
		return nil
	}
	for name, value := range metrics {
		if name == "step" || name == "epoch" {
			continue
		}
		if err := r.watch.board.Scalar("val/"+name, r.state.Epoch, value); err != nil {
			return err
		}
	}
	return r.watch.board.Flush()
}

// chance is the loss of who guesses among n pairs: ln n or, of the sigmoid loss, what the best constant answer to each
// of the n x n questions costs.
func (r *run) chance(n int) float64 {
	chance := math.Log(float64(n))
	if r.model.LogitBias != nil && n > 1 {
		chance += float64(n-1) * math.Log(float64(n)/float64(n-1))
	}
	if r.teacher != nil { // whatever it is sure of, a uniform guess costs ln n against it too
		chance *= 2
	}
	return chance
}

// guessingSteps is how many steps in a row a loss may be that of guessing.
const guessingSteps = 100

// guessing counts them.
type guessing struct{ steps int }

// stays tells once, when the last of guessingSteps steps comes.
func (g *guessing) stays(loss, chance float64) bool {
	if math.Abs(loss-chance) > 0.01*chance {
		g.steps = min(g.steps, 0)
		return false
	}
	g.steps++
	if g.steps < guessingSteps {
		return false
	}
	g.steps = math.MinInt // never again
	return true
}

// duplicates is the share of captions, rows of so many tokens, that stand in a batch before: each of them is a wrong
// answer that is right.
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

// captionKey is a caption's tokens, as a map wants them.
func captionKey(tokens []int64) string {
	key := make([]byte, 0, 3*len(tokens))
	for _, id := range tokens {
		key = append(key, byte(id), byte(id>>8), byte(id>>16))
	}
	return string(key)
}

// reportsTo tells whether --report-to names a place.
func (o *Options) reportsTo(name string) bool {
	for _, place := range strings.Split(o.ReportTo, ",") {
		if strings.TrimSpace(place) == name {
			return true
		}
	}
	return false
}
