package train

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goclip/goclip/clip/preprocess"
)

// ErrConfig marks faults of a [Config], or of a model and data that it does not suit; nothing was
// written.
var ErrConfig = errors.New("config")

// ErrInterrupted is what a run ends with when its context does: the checkpoint was written.
var ErrInterrupted = errors.New("interrupted")

// ErrNoCheckpoint is what [Resume] matches where a run has no checkpoint yet: it may begin with
// [New].
var ErrNoCheckpoint = errors.New("no checkpoint yet")

// ConfigError is all that is wrong with a [Config]. It is an [ErrConfig].
type ConfigError struct{ Faults []string }

func (e *ConfigError) Error() string { return "train: " + strings.Join(e.Faults, "; ") }

// Is makes it an ErrConfig.
func (e *ConfigError) Is(target error) bool { return target == ErrConfig }

// refuse is a ConfigError of one fault.
func (c *Config) refuse(format string, args ...any) error {
	return &ConfigError{[]string{fmt.Sprintf(c.words(format), args...)}}
}

// maxWorkers bounds Workers: beyond it a number is a slip, and the machine would choke on it.
const maxWorkers = 1024

// Check refuses fields that make no run, all at once; the error is a [*ConfigError]. [New] calls
// it.
func (c *Config) Check() error {
	f, _ := c.filled(false)
	var faults []string
	wants := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(c.words(format), args...))
		}
	}
	number := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	positive := func(field string, x float64) {
		wants(x > 0 && number(x), "{"+field+"} %g: must be a positive number", x)
	}
	atLeast := func(field string, n, least int) {
		wants(n >= least, "{"+field+"} %d: must be at least %d", n, least)
	}
	share := func(field string, x float64) { wants(x >= 0 && x < 1, "{"+field+"} %g is outside [0, 1)", x) }
	natural := func(field string, n int) { wants(n >= 0, "{"+field+"} %d is negative", n) }
	natural("EpochSamples", f.EpochSamples)
	for _, x := range f.UpsamplingFactors {
		wants(x >= 0 && number(x), "{UpsamplingFactors} %v: must be a number for each source, 0 or positive", f.UpsamplingFactors)
	}
	wants(len(f.UpsamplingFactors) == 0 || f.Resample, "{UpsamplingFactors} requires {Resample}")
	wants(f.MaxImagePixels >= 0, "{MaxImagePixels} %d is negative", f.MaxImagePixels)
	wants(f.BatchSize >= 1 && f.BatchSize*f.AccumFreq >= 2, "{BatchSize} %d: must be at least 2: the loss compares the images of a batch", f.BatchSize)
	atLeast("AccumFreq", f.AccumFreq, 1)
	wants(f.Loss == nil || f.Teacher == nil, "{Teacher} is for the losses of clip/loss; drop it or {Loss}")
	wants(f.Loss == nil || f.IDTargets != "on", "{IDTargets} on is for the losses of clip/loss; drop it or {Loss}")
	wants(slices.Contains([]string{"auto", "on", "off"}, f.IDTargets), "{IDTargets} %q: must be one of auto, on, off", f.IDTargets)
	atLeast("Epochs", f.Epochs, 1)
	natural("MaxSteps", f.MaxSteps)
	positive("LR", f.LR)
	share("Beta1", meant(f.Beta1))
	share("Beta2", meant(f.Beta2))
	positive("Eps", f.Eps)
	wants(meant(f.WeightDecay) >= 0 && number(f.WeightDecay), "{WeightDecay} %g: must be 0 or a positive number", f.WeightDecay)
	wants(validWarmup(f.Warmup), "{Warmup} %g: must be a whole number of steps, or a fraction of the run below 1", f.Warmup)
	wants(slices.Contains([]string{"cosine", "const", "const-cooldown"}, f.Schedule), "{Schedule} %q: must be one of cosine, const, const-cooldown", f.Schedule)
	wants(f.GradClipNorm >= 0 && number(f.GradClipNorm), "{GradClipNorm} %g: must be 0 or a positive number", f.GradClipNorm)
	_, known := precisions[f.Precision]
	wants(known || f.Precision == "auto", "{Precision} %q: must be one of auto, fp32, fp32-strict, amp_bf16, bf16, amp, fp16, pure_bf16", f.Precision)
	share("PatchDropout", meant(f.PatchDropout))
	natural("UnlockedGroups", f.UnlockedGroups)
	natural("UnlockedLayers", f.UnlockedLayers)
	wants(f.LockImage || f.UnlockedGroups <= 0, "{UnlockedGroups} %d requires {LockImage}", f.UnlockedGroups)
	wants(f.LockText || f.UnlockedLayers <= 0, "{UnlockedLayers} %d requires {LockText}", f.UnlockedLayers)
	wants(f.LockImage || !f.FreezeBNStats, "{FreezeBNStats} requires {LockImage}")
	wants(f.LockText || !f.FreezeLayerNorm, "{FreezeLayerNorm} requires {LockText}")
	wants(f.Workers >= 1 && f.Workers <= maxWorkers, "{Workers} %d: must be between 1 and %d", f.Workers, maxWorkers)
	natural("SaveEpochs", meant(f.SaveEpochs))
	natural("SaveSteps", f.SaveSteps)
	natural("ValEpochs", meant(f.ValEpochs))
	natural("ZeroShotEpochs", meant(f.ZeroShotEpochs))
	atLeast("LogEvery", f.LogEvery, 1)
	wants(f.TokenLR >= 0 && number(f.TokenLR) || f.TokenLR == TokenLRAuto || f.TokenLR == TokenLRSame, "{TokenLR} %g: must be a positive number, 0 for {LR}, or -1", f.TokenLR)
	cooldown := f.Schedule == "const-cooldown"
	wants(!cooldown || f.CooldownEpochs >= 1, "{Schedule} const-cooldown requires {CooldownEpochs}, at least 1")
	wants(cooldown || f.CooldownEpochs == 0, "{CooldownEpochs} %d requires {Schedule} const-cooldown", f.CooldownEpochs)
	wants(f.CooldownEpochs <= f.Epochs, "{CooldownEpochs} %d is more than the run's %d epochs", f.CooldownEpochs, f.Epochs)
	wants(f.CooldownEndLR >= 0 && (!cooldown || f.CooldownEndLR <= f.LR), "{CooldownEndLR} %g: must be a number from 0 to {LR}", f.CooldownEndLR)
	if cooldown {
		positive("CooldownPower", f.CooldownPower)
	}
	wants(f.ImageLayerDecay >= 0 && f.ImageLayerDecay <= 1, "{ImageLayerDecay} %g is outside [0, 1]", f.ImageLayerDecay)
	wants(f.TextLayerDecay >= 0 && f.TextLayerDecay <= 1, "{TextLayerDecay} %g is outside [0, 1]", f.TextLayerDecay)
	share("EMADecay", f.EMADecay)
	share("WiseFT", f.WiseFT)
	natural("LoRARank", f.LoRARank)
	wants(f.LoRAAlpha >= 0 && number(f.LoRAAlpha), "{LoRAAlpha} %g: must be a positive number", f.LoRAAlpha)
	wants(f.LoRARank > 0 || f.LoRAAlpha == 0, "{LoRAAlpha} %g requires {LoRARank}", f.LoRAAlpha)
	wants(f.LoRARank == 0 || f.UnlockedGroups == 0 && f.UnlockedLayers == 0, "{LoRARank} and {UnlockedGroups} or {UnlockedLayers}: a tower is adapted or locked; drop one")
	_, err := preprocess.NewTrainTransform(preprocess.DefaultConfig(224), f.Augment)
	wants(err == nil, "{Augment}: %v", err)
	if len(faults) > 0 {
		return &ConfigError{faults}
	}
	return nil
}
