package tower

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// VisionConfig is an image tower. Which one it is follows from the fields: TimmModelName names one of
// timm's, four Layers make a ResNet, and one makes a vision transformer.
type VisionConfig struct {
	ImageSize Size    `json:"image_size"`
	Layers    Layers  `json:"layers"`
	Width     int     `json:"width"`
	HeadWidth int     `json:"head_width,omitempty"` // 64
	MLPRatio  float64 `json:"mlp_ratio,omitempty"`  // 4
	PatchSize int     `json:"patch_size,omitempty"` // 16; a ResNet has none

	LSInitValue       *float64     `json:"ls_init_value,omitempty"`       // scales each branch of a block, beginning here (arXiv 2103.17239)
	PatchDropout      float64      `json:"patch_dropout,omitempty"`       // fraction of patches left out in training (arXiv 2212.00794)
	AttentionalPool   bool         `json:"attentional_pool,omitempty"`    // queries that attend to the patches, before PoolType (arXiv 2205.01917)
	AttnPoolerQueries int          `json:"attn_pooler_queries,omitempty"` // 256
	AttnPoolerHeads   int          `json:"attn_pooler_heads,omitempty"`   // 8
	NoLnPre           bool         `json:"no_ln_pre,omitempty"`
	PosEmbedType      string       `json:"pos_embed_type,omitempty"` // learnable, sin_cos_2d
	FinalLnAfterPool  bool         `json:"final_ln_after_pool,omitempty"`
	PoolType          string       `json:"pool_type,omitempty"` // tok, avg
	OutputTokens      bool         `json:"output_tokens,omitempty"`
	NormOptions       *NormOptions `json:"norm_kwargs,omitempty"`
	ActOptions        *ActOptions  `json:"act_kwargs,omitempty"`

	TimmModelName       string   `json:"timm_model_name,omitempty"`
	TimmModelPretrained bool     `json:"timm_model_pretrained,omitempty"`
	TimmPool            string   `json:"timm_pool,omitempty"` // map, token, avg: as the model has it
	TimmProj            string   `json:"timm_proj,omitempty"` // none, linear, mlp; an EVA's is null
	TimmProjBias        bool     `json:"timm_proj_bias,omitempty"`
	TimmDrop            float64  `json:"timm_drop,omitempty"`
	TimmDropPath        *float64 `json:"timm_drop_path,omitempty"` // stochastic depth in training, of the last block
}

// Size is the pixels of an image. In JSON it is one number when both are equal, else [height, width].
type Size struct{ Height, Width int }

// Square returns a side x side image.
func Square(side int) Size { return Size{side, side} }

// String reads "224" or "224x448", height first.
func (s Size) String() string {
	if s.Height == s.Width {
		return fmt.Sprint(s.Height)
	}
	return fmt.Sprintf("%dx%d", s.Height, s.Width)
}

// MarshalJSON writes open_clip's form.
func (s Size) MarshalJSON() ([]byte, error) {
	if s.Height == s.Width {
		return json.Marshal(s.Height)
	}
	return json.Marshal([]int{s.Height, s.Width})
}

// UnmarshalJSON reads open_clip's form.
func (s *Size) UnmarshalJSON(data []byte) error {
	sizes, err := oneOrMany(data)
	switch {
	case err != nil || len(sizes) == 0 || len(sizes) > 2:
		return fmt.Errorf("image_size is %s; a number or [height, width] would be right", data)
	case len(sizes) == 1:
		*s = Square(sizes[0])
	default:
		*s = Size{sizes[0], sizes[1]}
	}
	return nil
}

// Layers is the number of blocks: one number for a transformer, four for the stages of a ResNet, four
// or five for those of timm's towers.
type Layers []int

// MarshalJSON writes open_clip's form.
func (l Layers) MarshalJSON() ([]byte, error) {
	if len(l) == 1 {
		return json.Marshal(l[0])
	}
	return json.Marshal([]int(l))
}

// UnmarshalJSON reads open_clip's form.
func (l *Layers) UnmarshalJSON(data []byte) error {
	layers, err := oneOrMany(data)
	if err != nil || len(layers) != 1 && len(layers) != 4 && len(layers) != 5 {
		return fmt.Errorf("layers is %s; a number, or the four of a ResNet's stages, would be right", data)
	}
	*l = layers
	return nil
}

func oneOrMany(data []byte) (numbers []int, err error) {
	if strings.HasPrefix(string(data), "[") {
		return numbers, json.Unmarshal(data, &numbers)
	}
	var one int
	err = json.Unmarshal(data, &one)
	return []int{one}, err
}

// IsResNet reports whether the tower is a ResNet.
func (v VisionConfig) IsResNet() bool { return len(v.Layers) == 4 && v.TimmModelName == "" }

// Depth returns the number of blocks of a transformer, 0 for a tower of several stages.
func (v VisionConfig) Depth() int {
	if len(v.Layers) != 1 {
		return 0
	}
	return v.Layers[0]
}

// Grid returns the number of patches from top to bottom and from left to right. A ResNet sees 32-pixel
// patches, and so does a tower of timm's that has stages.
func (v VisionConfig) Grid() (rows, columns int) {
	if v.IsResNet() {
		return v.ImageSize.Height / 32, v.ImageSize.Width / 32
	}
	return v.ImageSize.Height / v.PatchSize, v.ImageSize.Width / v.PatchSize
}

// String says what the tower is in a line: "12 layers of width 768, 32-pixel patches of 224 pixels".
func (v VisionConfig) String() string {
	switch {
	case v.IsResNet():
		return v.stages("ResNet")
	case v.IsConvNeXt():
		return v.stages("ConvNeXt")
	case v.IsFastViT():
		return v.stages("FastViT")
	case v.IsSwin():
		return v.stages("Swin transformer")
	}
	if v.IsNaFlex() {
		rows, columns := v.Grid()
		return fmt.Sprintf("%d layers of width %d, at most %d patches of %d pixels of images of any shape", v.Depth(), v.Width, rows*columns, v.PatchSize)
	}
	return fmt.Sprintf("%d layers of width %d, %d-pixel patches of %v pixels", v.Depth(), v.Width, v.PatchSize, v.ImageSize)
}

func (v *VisionConfig) fillDefaults() {
	setDefault(&v.HeadWidth, 64)
	setDefault(&v.MLPRatio, 4)
	if v.AttentionalPool {
		setDefault(&v.AttnPoolerQueries, 256)
		setDefault(&v.AttnPoolerHeads, 8)
	}
	if f, ok := v.timmFamily(); ok {
		f.fill(v)
	}
	if v.IsResNet() {
		v.PatchSize, v.MLPRatio = 0, 0
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (v VisionConfig) validate(p *problems, c *Config) {
	ok := p.positive("vision_cfg.image_size", v.ImageSize.Height) && p.positive("vision_cfg.image_size", v.ImageSize.Width) &&
		p.positive("vision_cfg.width", v.Width) && p.positive("vision_cfg.head_width", v.HeadWidth)
	for _, layers := range v.Layers {
		ok = p.positive("vision_cfg.layers", layers) && ok
	}
	p.check(max(v.ImageSize.Height, v.ImageSize.Width) <= 1<<14 && slices.Max(append([]int{0}, v.Layers...)) <= 1<<10,
		"vision_cfg: %v pixels and layers of %v are beyond any model", v.ImageSize, v.Layers)
	p.check(len(v.Layers) == 1 || len(v.Layers) == 4 || v.IsFastViT(), "vision_cfg.layers are %v; a number, or the four of a ResNet's stages, would be right", v.Layers)
	p.oneOf("vision_cfg.pos_embed_type", v.PosEmbedType, "learnable", "sin_cos_2d")
	p.oneOf("vision_cfg.pool_type", v.PoolType, "tok", "avg") // "none" leaves an image without one feature
	p.check(!v.OutputTokens || c.Multimodal != nil, "vision_cfg.output_tokens serves a captioner; multimodal_cfg would describe it")
	p.check(v.PatchDropout >= 0 && v.PatchDropout < 1, "vision_cfg.patch_dropout %g is outside [0, 1)", v.PatchDropout)
	p.options("vision_cfg", v.NormOptions, v.ActOptions, c.QuickGELU)
	switch {
	case v.TimmModelName != "":
		v.validateTimm(p, c)
	case !ok:
	case v.IsResNet():
		p.check(v.ImageSize.Height == v.ImageSize.Width && v.ImageSize.Height%32 == 0, "vision_cfg.image_size %v: a ResNet's images are square and their side a multiple of 32", v.ImageSize)
		p.check(v.Width%2 == 0, "vision_cfg.width %d of a ResNet is odd", v.Width)
		p.check(v.Width*32%v.HeadWidth == 0, "vision_cfg.width %d * 32 is not a multiple of head_width %d", v.Width, v.HeadWidth)
	case p.positive("vision_cfg.patch_size", v.PatchSize):
		v.validateViT(p, c)
	}
}

func (v VisionConfig) validateViT(p *problems, c *Config) {
	rows, columns := v.Grid()
	p.check(rows > 0 && columns > 0, "vision_cfg.patch_size %d is larger than image_size %v", v.PatchSize, v.ImageSize)
	p.check(v.Width%v.HeadWidth == 0, "vision_cfg.width %d is not a multiple of head_width %d", v.Width, v.HeadWidth)
	p.check(v.MLPRatio > 0, "vision_cfg.mlp_ratio must be positive")
	if v.PosEmbedType == "sin_cos_2d" {
		p.check(rows == columns && v.Width%4 == 0, "vision_cfg.pos_embed_type sin_cos_2d takes square images and a width that is a multiple of 4")
	}
	if v.AttentionalPool && p.positive("vision_cfg.attn_pooler_queries", v.AttnPoolerQueries) && p.positive("vision_cfg.attn_pooler_heads", v.AttnPoolerHeads) {
		p.check(c.EmbedDim%v.AttnPoolerHeads == 0, "embed_dim %d is not a multiple of vision_cfg.attn_pooler_heads %d", c.EmbedDim, v.AttnPoolerHeads)
		p.check(v.PoolType != "avg" || v.AttnPoolerQueries > 1, "vision_cfg.pool_type avg leaves out the first of attn_pooler_queries, and there is only one")
	}
}
