package train

import (
	"context"
	"fmt"
	"math"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

// open makes all that a run needs; from is the checkpoint that it resumes from.
func (t *Trainer) open(ctx context.Context, m *clip.Model, d Dataset, from string) (err error) {
	var note string
	if t.c, note = t.c.filled(m.Trained() && from == ""); note != "" {
		t.notes = append(t.notes, note)
	}
	c := &t.c
	t.model, t.device, t.data, t.resumed = m, m.Device(), d, from
	m.Options.PlainText = m.Options.PlainText || c.PlainText
	if c.PatchDropout != 0 {
		if err := m.SetPatchDropout(meant(c.PatchDropout)); err != nil {
			return c.errorf("{PatchDropout}: %w", err)
		}
	}
	if err := t.lockTowers(); err != nil {
		return err
	}
	t.precision = choosePrecision(c.Precision, t.device)
	if err := t.precision.convert(m); err != nil {
		return err
	}
	if t.precision.scales && t.state.Scaler == nil {
		t.state.Scaler = newScaler()
	}
	t.scaler, t.clipNorm, t.lossOf, t.capturing = t.state.Scaler, c.GradClipNorm, c.Loss, c.CUDAGraphs
	t.graphs.Max = maxGraphs
	if (c.AccumFreq > 1 || t.group.Size() > 1) && m.Config.Vision.HasBatchNorm() && !(c.LockImage && c.FreezeBNStats) {
		kind := "ResNet"
		if !m.Config.Vision.IsResNet() {
			kind = "MobileCLIP"
		}
		t.notes = append(t.notes, c.words("WARNING: the batch statistics of a "+kind+" are those of each process's micro-batch, as in open_clip; a ViT's gradient is that of the whole batch"))
	}
	if m.Decoder != nil {
		return c.refuse(m.Name + " writes captions, and goclip has no loss for them: training its towers would leave the decoder behind; take a model without multimodal_cfg")
	}
	if err := t.useTeacher(); err != nil {
		return err
	}
	if err := t.adapt(); err != nil {
		return err
	}
	if err := t.openData(ctx); err != nil {
		return err
	}
	if t.capturing {
		if why := t.checkGraphs(c); why != "" {
			return c.refuse("{CUDAGraphs}: " + why)
		}
	}
	steps := t.loader.Batches() / c.AccumFreq // of an epoch
	if c.Epochs > math.MaxInt32/max(1, steps) {
		return c.refuse("{Epochs} %d: of %d steps each, these are more than %d steps", c.Epochs, steps, math.MaxInt32)
	}
	if t.total = c.steps(steps); t.total == 0 {
		return c.errorf("{AccumFreq} %d: the data makes %d batches of %d, too few for one step", c.AccumFreq, t.loader.Batches(), c.BatchSize)
	}
	if err := t.changeLength(steps); err != nil {
		return err
	}
	if err := t.reschedule(); err != nil {
		return err
	}
	if t.warmup >= t.total && t.warmup > 0 && !c.SkipSchedule {
		t.notes = append(t.notes, fmt.Sprintf(c.words("WARNING: {Warmup} %d is not shorter than the run of %d steps, so the learning rate gets to %.3g of {LR} %.3g; {Warmup} 0.1 is a tenth of the run"), t.warmup, t.total, t.schedule(t.total-1), c.LR))
	}
	groups := decayByLayer(m, parameterGroups(m, meant(c.WeightDecay)), c.ImageLayerDecay, c.TextLayerDecay)
	t.noteIdle(groups)
	t.optimiser = optim.NewAdamW(scaleTokens(groups, t.tokenLR()/c.LR),
		optim.AdamWOptions{LR: c.LR, Beta1: meant(c.Beta1), Beta2: meant(c.Beta2), Eps: c.Eps})
	torch.ManualSeed(c.Seed + uint64(t.group.Rank()))
	if from != "" {
		if err := t.restore(from); err != nil {
			return err
		}
	}
	if err := t.openTuned(from); err != nil {
		return err
	}
	if err := t.equalise(); err != nil {
		return err
	}
	t.rng = torch.RNGState(t.device)
	t.reducer, err = distributed.NewReducer(t.group, t.optimiser.Parameters(), distributed.BucketBytes)
	return err
}

// lockTowers keeps the towers as they are that the Config names, before the optimiser is made.
func (t *Trainer) lockTowers() error {
	if t.c.LockImage {
		t.remember(t.model.Visual)
		if err := t.model.LockImage(t.c.UnlockedGroups, t.c.FreezeBNStats); err != nil {
			return err
		}
	}
	if t.c.LockText {
		t.remember(t.model.Text)
		if err := t.model.LockText(t.c.UnlockedLayers, t.c.FreezeLayerNorm); err != nil {
			return err
		}
	}
	if towerParameters(t.model) == 0 {
		return t.c.refuse("{LockImage} and {LockText} leave only the temperature to train; drop one of them, or give {UnlockedGroups} or {UnlockedLayers}")
	}
	return nil
}

// remember has Close bring back what of a tower learns now.
func (t *Trainer) remember(of clip.Tower) {
	for _, p := range nn.Params(of) {
		if p.RequiresGrad() {
			t.unlock = append(t.unlock, func() { p.SetRequiresGrad(true) })
		}
	}
	for _, bn := range nn.Modules[*nn.BatchNorm2d](of) {
		frozen := bn.Frozen
		t.unlock = append(t.unlock, func() { bn.Frozen = frozen })
	}
}

// adapt changes how the model learns, after the locks and before the optimiser is made.
func (t *Trainer) adapt() error {
	if t.c.LoRARank > 0 {
		o := clip.LoRAOptions{Rank: t.c.LoRARank, Alpha: t.c.LoRAAlpha, Seed: t.c.Seed, Image: !t.c.LockImage, Text: !t.c.LockText}
		if o.Alpha == 0 {
			o.Alpha = float64(o.Rank)
		}
		if err := t.model.AddLoRA(o); err != nil {
			return t.c.errorf("{LoRARank}: %w", err)
		}
	}
	if t.c.GradCheckpointing {
		if err := t.model.SetGradCheckpointing(true); err != nil {
			return t.c.errorf("{GradCheckpointing}: %w", err)
		}
	}
	return nil
}

// useTeacher takes a teacher, whose sizes and normalisation must be those of the trained model: both
// see the same images and tokens.
func (t *Trainer) useTeacher() error {
	teacher := t.c.Teacher
	if teacher == nil {
		return nil
	}
	mine, theirs := t.model.Preprocess, teacher.Preprocess
	fault := ""
	switch {
	case t.model.LogitBias != nil:
		return t.c.refuse("{Teacher} is for the softmax loss, and the model has a bias of the logits, as SigLIP's has")
	case mine.Size != theirs.Size:
		fault = fmt.Sprintf("images of %v pixels, not %v", theirs.Size, mine.Size)
	case mine.Mean != theirs.Mean || mine.Std != theirs.Std:
		fault = "images of another mean and standard deviation"
	case t.model.ContextLength() != teacher.ContextLength():
		fault = fmt.Sprintf("texts of %d tokens, not %d", teacher.ContextLength(), t.model.ContextLength())
	case t.model.Config.Text.VocabSize != teacher.Config.Text.VocabSize:
		fault = fmt.Sprintf("a vocabulary of %d tokens, not %d", teacher.Config.Text.VocabSize, t.model.Config.Text.VocabSize)
	}
	if fault != "" {
		return t.c.refuse("{Teacher} %s takes %s, as the trained model has; take another, or open the model with the sizes, mean and deviation of the teacher", teacher.Name, fault)
	}
	t.teacher = teacher
	if err := teacher.To(t.device); err != nil {
		return t.c.errorf("{Teacher} %s: %w", teacher.Name, err)
	}
	return t.precision.convert(teacher)
}
