package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/internal/estimate"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/torch/optim"
	"github.com/goclip/goclip/train/data"
)

// open reads all that the run needs before it writes anything.
func (r *run) open(ctx context.Context) (err error) {
	if r.device, err = torch.ParseDevice(r.o.Device); err != nil {
		return optionsError{fmt.Errorf("train: --device: %w", err)}
	}
	if note := torch.FellBack(r.o.Device, r.device); note != "" {
		r.notes = append(r.notes, note)
	}
	torch.SetNumThreads(r.o.Threads)
	if err := r.agree(); err != nil {
		return err
	}
	r.dir = r.o.directory()
	if r.first() {
		if err := r.lockDirectory(); err != nil {
			return err
		}
	}
	source, resumed := r.o.Model, ""
	from := clip.OpenOptions{Pretrained: r.o.Pretrained, Seed: r.o.Seed, Device: r.device, Fetch: r.report.Fetch, Copy: true, Log: func(line string) { r.notes = append(r.notes, line) },
		ImageSize: r.o.ForceImageSize, ContextLength: r.o.ForceContextLength, QuickGELU: r.o.ForceQuickGELU, SigLIP: r.o.SigLIP,
		ImageTower: r.o.ImageTower, TextTower: r.o.TextTower}
	if r.o.Resume != "" {
		if resumed, err = r.findResume(); err != nil {
			return err
		}
	} else if _, err := os.Stat(filepath.Join(r.dir, "checkpoints")); err == nil && r.o.Overfit == 0 {
		return fmt.Errorf("train: %s holds a run already; give --resume latest to continue it or another --name", r.dir)
	}
	if resumed != "" {
		if err := r.readState(resumed); err != nil {
			return err
		}
		source, from = resumed, clip.OpenOptions{Device: r.device, Copy: true} // which is what the other options made of the model
	} else if _, err := tower.LookupConfig(source); err == nil && from.Pretrained == "" {
		from.Pretrained = "random"
	}
	if r.model, err = clip.Open(ctx, source, &from); err != nil {
		return err
	}
	if r.o.PatchDropout >= 0 {
		if err := r.model.SetPatchDropout(r.o.PatchDropout); err != nil {
			return fmt.Errorf("train: --force-patch-dropout: %w", err)
		}
	}
	if resumed == "" { // a checkpoint has them
		if err := r.o.overridePreprocess(&r.model.Preprocess); err != nil {
			return err
		}
	}
	if err := r.lock(); err != nil {
		return err
	}
	r.precision = choosePrecision(r.o.Precision, r.device)
	if err := r.precision.convert(r.model); err != nil {
		return err
	}
	if r.precision.scales && r.state.Scaler == nil {
		r.state.Scaler = newScaler()
	}
	if (r.o.AccumFreq > 1 || r.group.Size() > 1) && r.model.Config.Vision.IsResNet() && !(r.o.LockImage && r.o.FreezeBNStats) {
		return optionsError{errors.New("train: the statistics of a ResNet would be those of a process's or of a micro-batch's pictures, and its gradient not the whole batch's; train it in one process without --accum-freq, or lock it with --lock-image --lock-image-freeze-bn-stats, or take a ViT")}
	}
	if err := r.openTeacher(ctx); err != nil {
		return err
	}
	if err := r.tune(); err != nil {
		return err
	}
	if err := r.checkGraphs(); err != nil {
		return err
	}
	if err := r.openData(ctx); err != nil {
		return err
	}
	if r.total = r.loader.Batches() / r.o.AccumFreq * r.o.Epochs; r.total == 0 {
		return fmt.Errorf("train: --accum-freq %d: the data makes %d batches of %d, too few for one step", r.o.AccumFreq, r.loader.Batches(), r.o.BatchSize)
	}
	if r.o.MaxSteps > 0 {
		r.total = min(r.total, r.o.MaxSteps)
	}
	r.warmup = r.o.Warmup.steps(r.total)
	if r.schedule, err = r.o.schedule(r.total, r.loader.Batches()/r.o.AccumFreq); err != nil {
		return optionsError{fmt.Errorf("train: %w", err)}
	}
	groups := decayByLayer(r.model, parameterGroups(r.model, r.o.WD), r.o.ImageLayerDecay, r.o.TextLayerDecay)
	r.optimiser = optim.NewAdamW(scaleTokens(groups, r.o.tokenLR(r.total)/r.o.LR),
		optim.AdamWOptions{LR: r.o.LR, Beta1: r.o.Beta1, Beta2: r.o.Beta2, Eps: r.o.Eps})
	torch.ManualSeed(r.o.Seed + uint64(r.group.Rank()))
	if r.resumed = resumed; resumed != "" {
		if err := r.restore(resumed); err != nil {
			return err
		}
	}
	if err := r.openTuned(resumed); err != nil {
		return err
	}
	if err := r.equalise(); err != nil {
		return err
	}
	r.reducer, err = distributed.NewReducer(r.group, r.optimiser.Parameters(), distributed.BucketBytes)
	return err
}

// begin makes the files that the run writes and opens what it is watched by, once all processes have opened what they need. A
// port in use is told before a file is there.
func (r *run) begin() (err error) {
	if r.o.MetricsAddr != "" && r.first() {
		if r.watch.metrics, err = listen(r.o.MetricsAddr); err != nil {
			return err
		}
	}
	if err := r.group.Barrier(); err != nil {
		return err
	}
	if !r.first() {
		r.records = &records{dir: r.dir, evaluated: -1}
		r.watch.utilisation.cost = estimate.StepCostOf(r.model)
		return nil
	}
	if err := r.openDirectory(r.resumed); err != nil {
		return err
	}
	r.log = r.records.out
	if r.report.Log != nil {
		r.log = io.MultiWriter(r.report.Log, r.records.out)
	}
	for _, note := range slices.Concat(r.report.Notes, r.notes) {
		r.logf("%s", note)
	}
	if r.o.Resume != "" && r.resumed == "" {
		r.logf("--resume latest: %s holds no checkpoint yet, so the run begins", filepath.Join(r.dir, "checkpoints"))
	}
	return r.openWatch()
}

// cacheSize bounds the decoded pictures that are kept for later epochs, in bytes.
const cacheSize = 1 << 30

func (r *run) openData(ctx context.Context) error {
	tokenizer, err := r.model.Tokenizer(ctx)
	if err != nil {
		return err
	}
	size := r.model.Preprocess.Size
	o := data.LoaderOptions{
		BatchSize: r.o.BatchSize, Workers: r.o.Workers, Seed: r.o.Seed, Pixels: 3 * size[0] * size[1], CacheSize: cacheSize,
		Limits: preprocess.Limits{MaxPixels: r.o.MaxImagePixels},
		Tokenize: func(text string) []int64 {
			ids, _ := tokenizer.Tokenize(text, r.model.ContextLength())
			return ids
		},
	}
	set, err := r.openTrainData(ctx)
	if err != nil {
		return err
	}
	r.matchIDs = r.o.IDTargets == "on" || r.o.IDTargets == "auto" && set.Classes()
	augment, err := preprocess.NewTrainTransform(r.model.Preprocess, r.o.AugCfg.AugConfig)
	if err != nil {
		return fmt.Errorf("train: --aug-cfg: %w", err)
	}
	o.Shuffle, o.DropLast, o.Transform = !r.o.NoShuffle, true, augment.Apply
	o.Rank, o.World = r.group.Rank(), r.group.Size()
	if r.o.Overfit > 0 {
		if r.loader, err = r.overfitLoader(set, o); err != nil {
			return err
		}
	} else {
		sampled, err := r.o.sampling(o, set)
		if err == nil {
			r.loader, err = data.NewLoader(set, &sampled)
		}
		if err != nil {
			return fmt.Errorf("--train-data: %w", inFlags(err))
		}
	}
	o.Rank, o.World = 0, 0 // rank 0 evaluates
	plain, err := r.model.Transform()
	if err != nil {
		return err
	}
	o.Shuffle, o.DropLast, o.SkipBad = false, false, true // a picture in another's place would be judged twice
	o.Transform = func(dst []float32, img *preprocess.Image, _ *rand.Rand) error { return plain.Apply(dst, img) }
	if r.o.ValData != "" {
		reading := r.reading(false)
		set, err := data.Open(ctx, r.o.ValData, &reading)
		if err == nil {
			r.val, err = data.NewLoader(set, &o)
		}
		if err != nil {
			return fmt.Errorf("--val-data: %w", inFlags(err))
		}
	}
	if r.o.ImageNetVal != "" {
		r.zeroshot, err = openZeroshot(ctx, r.o, o)
	}
	return err
}
