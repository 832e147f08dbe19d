// Package timm knows towers of the Python library timm by their names there.
package timm

// ViT is a vision transformer (timm/models/vision_transformer.py).
type ViT struct {
	Image, Patch, Width, Depth, Heads int
	MLPRatio                          float64
	Pool                              string // map: a learned query attends to the patches; token: the class token
	Tanh                              bool   // GELU's tanh approximation, timm's act_layer gelu_tanh
}

// ViTs is the table.
var ViTs = map[string]ViT{
	"vit_base_patch32_siglip_256":     {256, 32, 768, 12, 12, 4, "map", true},
	"vit_base_patch16_siglip_224":     {224, 16, 768, 12, 12, 4, "map", false},
	"vit_base_patch16_siglip_256":     {256, 16, 768, 12, 12, 4, "map", false},
	"vit_base_patch16_siglip_384":     {384, 16, 768, 12, 12, 4, "map", false},
	"vit_base_patch16_siglip_512":     {512, 16, 768, 12, 12, 4, "map", false},
	"vit_large_patch16_siglip_256":    {256, 16, 1024, 24, 16, 4, "map", false},
	"vit_large_patch16_siglip_384":    {384, 16, 1024, 24, 16, 4, "map", false},
	"vit_large_patch16_siglip_512":    {512, 16, 1024, 24, 16, 4, "map", true},
	"vit_so400m_patch14_siglip_224":   {224, 14, 1152, 27, 16, 3.7362, "map", false},
	"vit_so400m_patch14_siglip_378":   {378, 14, 1152, 27, 16, 3.7362, "map", false},
	"vit_so400m_patch14_siglip_384":   {384, 14, 1152, 27, 16, 3.7362, "map", false},
	"vit_so400m_patch16_siglip_256":   {256, 16, 1152, 27, 16, 3.7362, "map", true},
	"vit_so400m_patch16_siglip_384":   {384, 16, 1152, 27, 16, 3.7362, "map", true},
	"vit_so400m_patch16_siglip_512":   {512, 16, 1152, 27, 16, 3.7362, "map", true},
	"vit_giantopt_patch16_siglip_256": {256, 16, 1536, 40, 16, 4, "map", true},
	"vit_giantopt_patch16_siglip_384": {384, 16, 1536, 40, 16, 4, "map", true},
	"vit_base_patch32_224":            {224, 32, 768, 12, 12, 4, "token", false}, // torchvision's vit_b_32 is the same
}
