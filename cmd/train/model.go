package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/pretrained"
	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
)

// source is where a model's weights come from, as flags name it.
type source struct {
	Model, Pretrained     string
	ImageTower, TextTower string
	Seed                  uint64
}

func (o *options) source() source {
	return source{o.Model, o.Pretrained, o.ImageTower, o.TextTower, o.Seed}
}

// shipped tells of the model whose weights are in this program, unless a flag names others.
func (s source) shipped() bool {
	if s.Model != models.Default || s.Pretrained != "" || s.ImageTower != "" || s.TextTower != "" {
		return false
	}
	_, err := os.Stat(s.Model)
	return err != nil
}

// random tells of weights that are drawn: a config alone has none of its own.
func (s source) random() bool {
	if s.Pretrained != "" {
		return s.Pretrained == "random"
	}
	_, err := os.Stat(s.Model)
	return err != nil && tower.IsConfig(s.Model) && !s.shipped()
}

// open reads the model, or draws its weights.
func (s source) open(ctx context.Context, o clip.OpenOptions) (*clip.Model, error) {
	o.Pretrained, o.ImageTower, o.TextTower, o.Seed = s.Pretrained, s.ImageTower, s.TextTower, s.Seed
	if s.shipped() {
		return clip.OpenFS(ctx, models.FS(), models.Default, &o)
	}
	if s.random() {
		o.Pretrained = "random"
	}
	return clip.Open(ctx, s.Model, &o)
}

// String returns the first line of a run's log: which weights it begins with.
func (s source) String() string {
	text := s.Model + ": "
	switch {
	case s.shipped():
		text += "the trained weights that goclip ships"
	case s.random():
		text += fmt.Sprintf("random weights, drawn from --seed %d", s.Seed)
	case s.Pretrained != "":
		text += "the weights " + s.Pretrained
	default:
		text += "its own trained weights"
	}
	for _, tower := range []struct{ name, file string }{{"image", s.ImageTower}, {"text", s.TextTower}} {
		if tower.file != "" {
			text += fmt.Sprintf(", the %s tower's from %s", tower.name, tower.file)
		}
	}
	if s.random() && s.Pretrained == "" && s.ImageTower == "" && s.TextTower == "" {
		text += "; " + s.trainedOnes()
	}
	return text
}

// trainedOnes says how to begin with weights that have learned, for a user who did not ask for random
// ones.
func (s source) trainedOnes() string {
	if s.Model == models.Default {
		return "without --pretrained it has trained ones"
	}
	name, err := pretrained.ParseName(s.Model, tower.ConfigNames())
	for _, m := range pretrained.Tags() {
		if err == nil && m.Model == name.Config && len(m.Tags) > 0 {
			return fmt.Sprintf("--pretrained %s has trained ones (infer models lists all)", m.Tags[0])
		}
	}
	return "no trained ones are published for it"
}

// likeOpenCLIP gives AdamW what open_clip gives it for the model's name (open_clip_train/params.py,
// get_default_params), where no flag does: a config that is no ViT has other defaults there.
func (o *options) likeOpenCLIP(given func(flag string) bool) {
	if !tower.IsConfig(o.Model) || o.Model == models.Default || strings.Contains(strings.ToLower(o.Model), "vit") {
		return
	}
	if !given("beta2") {
		o.Beta2 = 0.999
	}
	if !given("eps") {
		o.Eps = 1e-8
	}
}

// openModel is the model that learns.
func (o *options) openModel(ctx context.Context, opening clip.OpenOptions) (*clip.Model, error) {
	opening.ImageSize, opening.ContextLength, opening.QuickGELU, opening.SigLIP = int(o.ForceImageSize), o.ForceContextLength, o.ForceQuickGELU, o.SigLIP
	opening.Copy = true
	m, err := o.source().open(ctx, opening)
	if err != nil {
		return nil, err
	}
	return m, o.overridePreprocess(&m.Preprocess)
}

// openTeacher is --distill-model; nil without.
func (o *options) openTeacher(ctx context.Context, device torch.Device, fetch pretrained.Options) (*clip.Model, error) {
	if o.DistillModel == "" {
		return nil, nil
	}
	from := source{Model: o.DistillModel, Pretrained: o.DistillPretrained}
	if from.random() {
		return nil, refusal("--distill-model %s has no weights of its own; --distill-pretrained must name trained ones", o.DistillModel)
	}
	m, err := from.open(ctx, clip.OpenOptions{Device: device, Fetch: fetch})
	if err != nil {
		return nil, fmt.Errorf("train: --distill-model: %w", err)
	}
	return m, nil
}
