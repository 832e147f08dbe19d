package clip

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
)

// Config is the architecture of a model: open_clip's model JSON (src/open_clip/model.py, CLIP, CLIPVisionCfg and
// CLIPTextCfg). Fields that open_clip knows and goclip does not are refused by name.
type Config struct {
	EmbedDim       int          `json:"embed_dim"`
	QuickGELU      bool         `json:"quick_gelu,omitempty"` // x*sigmoid(1.702x), OpenAI's; else the exact GELU
	InitLogitScale *float64     `json:"init_logit_scale,omitempty"`
	Vision         VisionConfig `json:"vision_cfg"`
	Text           TextConfig   `json:"text_cfg"`
}

// VisionConfig is a vision transformer (Dosovitskiy et al., arXiv 2010.11929).
type VisionConfig struct {
	ImageSize    int     `json:"image_size"` // pixels of a side
	Layers       int     `json:"layers"`
	Width        int     `json:"width"`
	HeadWidth    int     `json:"head_width,omitempty"` // 64
	MLPRatio     float64 `json:"mlp_ratio,omitempty"`  // 4
	PatchSize    int     `json:"patch_size"`
	PatchDropout float64 `json:"patch_dropout,omitempty"` // share of patches left out in training (arXiv 2212.00794)
}

// TextConfig is a causal transformer over byte-pair tokens.
type TextConfig struct {
	ContextLength int     `json:"context_length"`
	VocabSize     int     `json:"vocab_size"`
	Width         int     `json:"width"`
	Heads         int     `json:"heads"`
	Layers        int     `json:"layers"`
	MLPRatio      float64 `json:"mlp_ratio,omitempty"` // 4
}

//go:embed configs/*.json
var configs embed.FS

// ConfigNames lists the built-in configs.
func ConfigNames() []string {
	entries, err := configs.ReadDir("configs")
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// LookupConfig finds a built-in config by name; "ViT-B/32" and "ViT-B-32" are the same.
func LookupConfig(name string) (*Config, error) {
	file := strings.NewReplacer("/", "-", "@", "-", "336px", "336").Replace(name)
	data, err := configs.ReadFile(path.Join("configs", file+".json"))
	if err != nil {
		return nil, fmt.Errorf("clip: no model is called %q; built in are %s", name, strings.Join(ConfigNames(), ", "))
	}
	return ParseConfig(data)
}

// ParseConfig reads open_clip's model JSON and checks it.
func ParseConfig(data []byte) (*Config, error) {
	c := &Config{
		Vision: VisionConfig{ImageSize: 224, Layers: 12, Width: 768, PatchSize: 16},
		Text:   TextConfig{ContextLength: 77, VocabSize: 49408, Width: 512, Heads: 8, Layers: 12},
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		if _, field, found := strings.Cut(err.Error(), "unknown field "); found {
			return nil, fmt.Errorf("clip: config: the field %s names a kind of model that goclip does not have", field)
		}
		return nil, fmt.Errorf("clip: config: not a model's JSON: %w", err)
	}
	c.fillDefaults()
	return c, c.validate()
}

func (c *Config) fillDefaults() {
	if c.Vision.HeadWidth == 0 {
		c.Vision.HeadWidth = 64
	}
	if c.Vision.MLPRatio == 0 {
		c.Vision.MLPRatio = 4
	}
	if c.Text.MLPRatio == 0 {
		c.Text.MLPRatio = 4
	}
	if c.InitLogitScale == nil {
		scale := math.Log(1 / 0.07) // the paper's initial temperature, section 2.5
		c.InitLogitScale = &scale
	}
}

func (c *Config) validate() error {
	positive := []struct {
		field string
		value int
	}{
		{"embed_dim", c.EmbedDim}, {"vision_cfg.image_size", c.Vision.ImageSize}, {"vision_cfg.layers", c.Vision.Layers},
		{"vision_cfg.width", c.Vision.Width}, {"vision_cfg.head_width", c.Vision.HeadWidth},
		{"vision_cfg.patch_size", c.Vision.PatchSize}, {"text_cfg.context_length", c.Text.ContextLength},
		{"text_cfg.vocab_size", c.Text.VocabSize}, {"text_cfg.width", c.Text.Width}, {"text_cfg.heads", c.Text.Heads},
		{"text_cfg.layers", c.Text.Layers},
	}
	var errs []error
	for _, p := range positive {
		if p.value <= 0 || p.value > 1<<24 {
			errs = append(errs, fmt.Errorf("clip: config: %s is %d, which is no size", p.field, p.value))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("clip: config: "+format, args...))
		}
	}
	v, t := c.Vision, c.Text
	check(v.ImageSize <= 1<<14 && max(v.Layers, t.Layers) <= 1<<10, "%d pixels and %d and %d layers are beyond any model", v.ImageSize, v.Layers, t.Layers)
	check(v.PatchSize <= v.ImageSize, "vision_cfg.patch_size %d is larger than image_size %d", v.PatchSize, v.ImageSize)
	check(v.Width%v.HeadWidth == 0, "vision_cfg.width %d is not a multiple of head_width %d", v.Width, v.HeadWidth)
	check(t.Width%t.Heads == 0, "text_cfg.width %d is not a multiple of heads %d", t.Width, t.Heads)
	check(t.ContextLength >= 2, "text_cfg.context_length %d has no room for the start and end tokens", t.ContextLength)
	check(v.PatchDropout >= 0 && v.PatchDropout < 1, "vision_cfg.patch_dropout %g is outside [0, 1)", v.PatchDropout)
	check(v.MLPRatio > 0 && t.MLPRatio > 0, "mlp_ratio must be positive")
	return errors.Join(errs...)
}

// Grid is the number of patches along a side.
func (v VisionConfig) Grid() int { return v.ImageSize / v.PatchSize }

// isConfig tells whether name is a built-in config in one of its spellings.
func isConfig(name string) bool {
	return slices.Contains(ConfigNames(), strings.NewReplacer("/", "-", "@", "-", "336px", "336").Replace(name))
}
