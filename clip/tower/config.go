package tower

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
	EmbedDim            int          `json:"embed_dim"`
	QuickGELU           bool         `json:"quick_gelu,omitempty"` // OpenAI's x*sigmoid(1.702x), not for timm's towers nor Hugging Face's
	InitLogitScale      *float64     `json:"init_logit_scale,omitempty"`
	InitLogitBias       *float64     `json:"init_logit_bias,omitempty"`       // its presence makes the loss the sigmoid loss
	NonscalarLogitScale bool         `json:"nonscalar_logit_scale,omitempty"` // shape (1) in place of ()
	CustomText          bool         `json:"custom_text,omitempty"`           // keys of the text tower begin with "text."
	Vision              VisionConfig `json:"vision_cfg"`
	Text                TextConfig   `json:"text_cfg"`

	Multimodal *MultimodalConfig `json:"multimodal_cfg,omitempty"` // of a CoCa
}

// NormOptions are open_clip's norm_kwargs.
type NormOptions struct {
	Eps float64 `json:"eps"` // of the LayerNorms; 1e-5 without
}

// ActOptions are open_clip's act_kwargs.
type ActOptions struct {
	Approximate string `json:"approximate"` // "none", or "tanh" for GELU's tanh approximation
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
	data, err := configs.ReadFile(path.Join("configs", configFile(name)+".json"))
	if err != nil {
		return nil, fmt.Errorf("clip: no built-in config is called %q; ConfigNames lists them", name)
	}
	return ParseConfig(data)
}

// IsConfig reports whether name is a built-in config in one of its spellings.
func IsConfig(name string) bool { return slices.Contains(ConfigNames(), configFile(name)) }

func configFile(name string) string {
	return strings.NewReplacer("/", "-", "@", "-", "336px", "336").Replace(name)
}

// ParseConfig reads open_clip's model JSON and checks it.
func ParseConfig(data []byte) (*Config, error) {
	c := &Config{
		Vision: VisionConfig{ImageSize: Square(224), Layers: Layers{12}, Width: 768, PatchSize: 16},
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
	return c, c.Complete()
}

// Complete fills in what is left out, as open_clip's classes do, and checks all of it; the error lists every
// fault.
func (c *Config) Complete() error {
	c.fillDefaults()
	return c.validate()
}

// Clone returns a copy that shares nothing that is written to.
func (c *Config) Clone() *Config {
	d := *c
	return &d
}

// fillDefaults completes what open_clip's classes complete. A tower that its name describes takes its sizes from there.
func (c *Config) fillDefaults() {
	c.Vision.fillDefaults()
	c.Text.fillDefaults()
	if c.Multimodal != nil {
		m := *c.Multimodal // a clone's is its own
		m.fillDefaults()
		c.Multimodal = &m
	}
	if c.InitLogitScale == nil {
		scale := math.Log(1 / 0.07) // the paper's initial temperature, section 2.5
		c.InitLogitScale = &scale
	}
}

func (c *Config) validate() error {
	problems := &problems{}
	problems.positive("embed_dim", c.EmbedDim)
	c.Vision.validate(problems, c)
	c.Text.validate(problems, c)
	if c.Multimodal != nil {
		c.Multimodal.validate(problems, c)
	}
	return errors.Join(problems.errs...)
}

// Flat reports whether the text tower's keys stand beside the model's own, as in OpenAI's files. open_clip gives a
// Hugging Face tower a prefix whatever the config says (src/open_clip/factory.py create_model).
func (c *Config) Flat() bool { return !c.CustomText && c.Text.HFModelName == "" }

// problems collects every complaint about a config, so that the user reads them all at once.
type problems struct{ errs []error }

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		p.errs = append(p.errs, fmt.Errorf("clip: config: "+format, args...))
	}
}

func (p *problems) positive(field string, value int) bool {
	ok := value > 0 && value <= 1<<24
	p.check(ok, "%s is %d, which is not a size", field, value)
	return ok
}

func (p *problems) oneOf(field, value string, allowed ...string) {
	p.check(value == "" || slices.Contains(allowed, value), "%s is %q; goclip has %s", field, value, strings.Join(allowed, ", "))
}

func (p *problems) options(tower string, norm *NormOptions, act *ActOptions, quickGELU bool) {
	p.check(norm == nil || norm.Eps > 0, "%s.norm_kwargs has no positive eps", tower)
	if act != nil {
		p.oneOf(tower+".act_kwargs.approximate", act.Approximate, "none", "tanh")
		p.check(!quickGELU, "%s.act_kwargs are GELU's, and quick_gelu is set", tower)
	}
}
