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

// mostWorkers bounds Workers: beyond it a number is a slip, and the machine would choke on it.
const mostWorkers = 1024

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
		wants(x > 0 && number(x), "{"+field+"} %g: a positive number is wanted", x)
	}
	atLeast := func(field string, n, least int) {
		wants(n >= least, "{"+field+"} %d: at least %d is wanted", n, least)
	}
	share := func(field string, x float64) { wants(x >= 0 && x < 1, "{"+field+"} %g is outside [0, 1)", x) }
	natural := func(field string, n int) { wants(n >= 0, "{"+field+"} %d is negative", n) }
	natural("EpochSamples", f.EpochSamples)
	for _, x := range f.UpsamplingFactors {
		wants(x >= 0 && number(x), "{UpsamplingFactors} %v: a number for each source is wanted, 0 or positive", f.UpsamplingFactors)
	}
	wants(len(f.UpsamplingFactors) == 0 || f.Resample, "{UpsamplingFactors} wants {Resample}")
	wants(f.MaxImagePixels >= 0, "{MaxImagePixels} %d is negative", f.MaxImagePixels)
	wants(f.BatchSize >= 1 && f.BatchSize*f.AccumFreq >= 2, "{BatchSize} %d: the loss compares images of a batch, so at least 2 are wanted", f.BatchSize)
	atLeast("AccumFreq", f.AccumFreq, 1)
	wants(f.Loss == nil || f.Teacher == nil, "{Teacher} is for the losses of clip/loss; drop it or {Loss}")
	wants(f.Loss == nil || f.IDTargets != "on", "{IDTargets} on is for the losses of clip/loss; drop it or {Loss}")
	wants(slices.Contains([]string{"auto", "on", "off"}, f.IDTargets), "{IDTargets} %q is none of auto, on, off", f.IDTargets)
	atLeast("Epochs", f.Epochs, 1)
	natural("MaxSteps", f.MaxSteps)
	positive("LR", f.LR)
	share("Beta1", meant(f.Beta1))
	share("Beta2", meant(f.Beta2))
	positive("Eps", f.Eps)
	wants(meant(f.WeightDecay) >= 0 && number(f.WeightDecay), "{WeightDecay} %g: 0 or a positive number is wanted", f.WeightDecay)
	wants(validWarmup(f.Warmup), "{Warmup} %g: a number of steps is wanted, a share of the run below 1", f.Warmup)
	wants(slices.Contains([]string{"cosine", "const", "const-cooldown"}, f.Schedule), "{Schedule} %q is none of cosine, const, const-cooldown", f.Schedule)
	wants(f.GradClipNorm >= 0 && number(f.GradClipNorm), "{GradClipNorm} %g: 0 or a positive number is wanted", f.GradClipNorm)
	_, known := precisions[f.Precision]
	wants(known || f.Precision == "auto", "{Precision} %q is none of auto, fp32, amp_bf16, bf16, amp, fp16, pure_bf16", f.Precision)
	share("PatchDropout", meant(f.PatchDropout))
	natural("UnlockedGroups", f.UnlockedGroups)
	natural("UnlockedLayers", f.UnlockedLayers)
	wants(f.LockImage || f.UnlockedGroups <= 0, "{UnlockedGroups} %d wants {LockImage}", f.UnlockedGroups)
	wants(f.LockText || f.UnlockedLayers <= 0, "{UnlockedLayers} %d wants {LockText}", f.UnlockedLayers)
	wants(f.LockImage || !f.FreezeBNStats, "{FreezeBNStats} wants {LockImage}")
	wants(f.LockText || !f.FreezeLayerNorm, "{FreezeLayerNorm} wants {LockText}")
	wants(f.Workers >= 1 && f.Workers <= mostWorkers, "{Workers} %d: 1 to %d are wanted", f.Workers, mostWorkers)
	natural("SaveEpochs", meant(f.SaveEpochs))
	natural("SaveSteps", f.SaveSteps)
	natural("ValEpochs", meant(f.ValEpochs))
	natural("ZeroShotEpochs", meant(f.ZeroShotEpochs))
	atLeast("LogEvery", f.LogEvery, 1)
	wants(f.TokenLR >= 0 && number(f.TokenLR) || f.TokenLR == TokenLRAuto || f.TokenLR == TokenLRSame, "{TokenLR} %g: a positive number is wanted, 0 for {LR}, or -1", f.TokenLR)
	cooldown := f.Schedule == "const-cooldown"
	wants(!cooldown || f.CooldownEpochs >= 1, "{Schedule} const-cooldown wants {CooldownEpochs}, at least 1")
	wants(cooldown || f.CooldownEpochs == 0, "{CooldownEpochs} %d wants {Schedule} const-cooldown", f.CooldownEpochs)
	wants(f.CooldownEpochs <= f.Epochs, "{CooldownEpochs} %d is more than the run's %d epochs", f.CooldownEpochs, f.Epochs)
	wants(f.CooldownEndLR >= 0 && (!cooldown || f.CooldownEndLR <= f.LR), "{CooldownEndLR} %g: a number from 0 to {LR} is wanted", f.CooldownEndLR)
	if cooldown {
		positive("CooldownPower", f.CooldownPower)
	}
	wants(f.ImageLayerDecay >= 0 && f.ImageLayerDecay <= 1, "{ImageLayerDecay} %g is outside [0, 1]", f.ImageLayerDecay)
	wants(f.TextLayerDecay >= 0 && f.TextLayerDecay <= 1, "{TextLayerDecay} %g is outside [0, 1]", f.TextLayerDecay)
	share("EMADecay", f.EMADecay)
	share("WiseFT", f.WiseFT)
	natural("LoRARank", f.LoRARank)
	wants(f.LoRAAlpha >= 0 && number(f.LoRAAlpha), "{LoRAAlpha} %g: a positive number is wanted", f.LoRAAlpha)
	wants(f.LoRARank > 0 || f.LoRAAlpha == 0, "{LoRAAlpha} %g wants {LoRARank}", f.LoRAAlpha)
	wants(f.LoRARank == 0 || f.UnlockedGroups == 0 && f.UnlockedLayers == 0, "{LoRARank} and {UnlockedGroups} or {UnlockedLayers}: a tower is adapted or locked; drop one")
	_, err := preprocess.NewTrainTransform(preprocess.DefaultConfig(224), f.Augment)
	wants(err == nil, "{Augment}: %v", err)
	if len(faults) > 0 {
		return &ConfigError{faults}
	}
	return nil
}
