package timm

// Eva is a vision transformer of timm's eva.py: EVA, EVA-02 and Meta's Perception Encoder.
type Eva struct {
	Image, Patch, Width, Depth, Heads int
	MLPRatio                          float64
	Kind                              EvaKind
	RotaryGrid                        int  // side of the grid that rotary positions are scaled to; 0 has none
	NoClass                           bool // no class token
}

// EvaKind is what the blocks of an [Eva] are made of.
type EvaKind int

// The kinds.
const (
	EvaPlain  EvaKind = iota // keys have no bias (EVA)
	EvaPost                  // the same, normalised behind each branch (EVA-02 E)
	EvaSwiGLU                // normalised inside attention and a gated perceptron too (EVA-02)
	EvaPE                    // ViT blocks; patches without bias, normalised; a learned query pools (Perception Encoder)
)

// Evas is the table.
var Evas = map[string]Eva{
	"eva_giant_patch14_224":            {224, 14, 1408, 40, 16, 6144.0 / 1408, EvaPlain, 0, false},
	"eva02_enormous_patch14_clip_224":  {224, 14, 1792, 64, 16, 15360.0 / 1792, EvaPost, 0, false},
	"eva02_base_patch16_clip_224":      {224, 16, 768, 12, 12, 8.0 / 3, EvaSwiGLU, 16, false},
	"eva02_large_patch14_clip_224":     {224, 14, 1024, 24, 16, 8.0 / 3, EvaSwiGLU, 16, false},
	"eva02_large_patch14_clip_336":     {336, 14, 1024, 24, 16, 8.0 / 3, EvaSwiGLU, 16, false},
	"vit_pe_core_tiny_patch16_384":     {384, 16, 192, 12, 3, 4, EvaPE, 24, false},
	"vit_pe_core_small_patch16_384":    {384, 16, 384, 12, 6, 4, EvaPE, 24, false},
	"vit_pe_core_base_patch16_224":     {224, 16, 768, 12, 12, 4, EvaPE, 14, false},
	"vit_pe_core_large_patch14_336":    {336, 14, 1024, 24, 16, 4, EvaPE, 24, false},
	"vit_pe_core_gigantic_patch14_448": {448, 14, 1536, 50, 16, 8960.0 / 1536, EvaPE, 32, true},
}
