package train

import (
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/goclip/goclip/clip"
)

// The defaults of fine-tuning, where open_clip's are those of training from nothing: its learning rate of 5e-4 destroys a
// trained model's zero-shot accuracy in an epoch. Both are those of FLYP (Goyal et al., arXiv 2212.00638) and near those
// of WiSE-FT (Wortsman et al., arXiv 2109.01903: 3e-5 and 0.1). The warm-up is a tenth of the run in any case. The token
// embeddings have a rate of their own, see tokenLR.
const (
	fineTuneLR = 1e-5
	fineTuneWD = 0.1
)

// FineTuneDefaults gives the options that the command line left out, by the names of their flags, the values of
// fine-tuning, if the run begins from trained weights. It returns a line for the log, "" if nothing was changed.
func (o *Options) FineTuneDefaults(given func(flag string) bool) string {
	if !o.fineTunes() {
		return ""
	}
	var chosen []string
	choose := func(flag string, value *float64, to float64) {
		if !given(flag) {
			*value = to
			chosen = append(chosen, fmt.Sprintf("--%s %g", flag, to))
		}
	}
	choose("lr", &o.LR, fineTuneLR)
	choose("wd", &o.WD, fineTuneWD)
	if !given("lr") { // a rate that is given is the rate of all
		choose("token-embedding-lr", &o.TokenLR, tokenLRAuto)
	}
	if len(chosen) == 0 {
		return ""
	}
	return "fine-tuning trained weights, so the defaults are " + strings.Join(chosen, " ") + "; flags that are given win"
}

// fineTunes tells whether the run begins from trained weights: --pretrained, or a directory or file for --model.
func (o *Options) fineTunes() bool {
	if o.Pretrained != "" {
		return o.Pretrained != "random"
	}
	_, err := os.Stat(o.Model)
	return err == nil
}

// checkTuning are the faults of the options of this file and its neighbours.
func (o *Options) checkTuning() (faults []string) {
	wants := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	cooldown := o.LRScheduler == "const-cooldown"
	wants(o.TokenLR >= 0 && !math.IsInf(o.TokenLR, 0) || o.TokenLR == tokenLRAuto, "--token-embedding-lr %g: a positive number is wanted, 0 for --lr, or -1", o.TokenLR)
	wants(o.Opt == "" || o.Opt == "adamw", "--opt %q: goclip has adamw alone", o.Opt)
	wants(!cooldown || o.EpochsCooldown >= 1, "--lr-scheduler const-cooldown wants --epochs-cooldown, at least 1")
	wants(cooldown || o.EpochsCooldown == 0, "--epochs-cooldown %d wants --lr-scheduler const-cooldown", o.EpochsCooldown)
	wants(o.EpochsCooldown <= o.Epochs, "--epochs-cooldown %d is more than the run's %d epochs", o.EpochsCooldown, o.Epochs)
	wants(o.LRCooldownEnd >= 0 && (!cooldown || o.LRCooldownEnd <= o.LR), "--lr-cooldown-end %g: a number from 0 to --lr is wanted", o.LRCooldownEnd)
	wants(!cooldown || o.LRCooldownPow > 0 && !math.IsInf(o.LRCooldownPow, 0), "--lr-cooldown-power %g: a positive number is wanted", o.LRCooldownPow)
	wants(o.ImageLayerDecay >= 0 && o.ImageLayerDecay <= 1, "--image-layer-decay %g is outside [0, 1]", o.ImageLayerDecay)
	wants(o.TextLayerDecay >= 0 && o.TextLayerDecay <= 1, "--text-layer-decay %g is outside [0, 1]", o.TextLayerDecay)
	wants(o.EMADecay >= 0 && o.EMADecay < 1, "--ema-decay %g is outside [0, 1)", o.EMADecay)
	wants(o.WiseFT >= 0 && o.WiseFT < 1, "--wise-ft %g is outside [0, 1)", o.WiseFT)
	wants(o.WiseFT == 0 || o.fineTunes(), "--wise-ft wants trained weights to begin with: --pretrained, or a model directory")
	wants(o.LoRARank >= 0, "--lora-rank %d is negative", o.LoRARank)
	wants(o.LoRAAlpha >= 0 && !math.IsInf(o.LoRAAlpha, 0), "--lora-alpha %g: a positive number is wanted", o.LoRAAlpha)
	wants(o.LoRARank > 0 || o.LoRAAlpha == 0, "--lora-alpha %g wants --lora-rank", o.LoRAAlpha)
	wants(o.LoRARank == 0 || o.UnlockedGroups == 0 && o.UnlockedLayers == 0, "--lora-rank and --lock-image-unlocked-groups or --lock-text-unlocked-layers: a tower is adapted or locked; drop one")
	return faults
}

// tune changes how the model learns, after the locks and before the optimiser is made.
func (r *run) tune() error {
	if r.o.LoRARank > 0 {
		o := clip.LoRAOptions{Rank: r.o.LoRARank, Alpha: r.o.LoRAAlpha, Seed: r.o.Seed, Image: !r.o.LockImage, Text: !r.o.LockText}
		if o.Alpha == 0 {
			o.Alpha = float64(o.Rank)
		}
		if err := r.model.AddLoRA(o); err != nil {
			return fmt.Errorf("train: --lora-rank: %w", err)
		}
	}
	if r.o.GradCheckpointing {
		if err := r.model.SetGradCheckpointing(true); err != nil {
			return fmt.Errorf("train: --grad-checkpointing: %w", err)
		}
	}
	return nil
}
