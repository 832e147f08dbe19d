// Package timm knows towers of the Python library timm by their names there.
package timm

// ViT is a vision transformer (timm/models/vision_transformer.py), with what timm's hybrids of it
// have in the place of patches, and with relative positions (vision_transformer_relpos.py).
type ViT struct {
	Image, Patch, Width, Depth, Heads int
	MLPRatio                          float64
	Pool                              string // map: a learned query attends to the patches; token: the class token; avg: the patches' mean
	Tanh                              bool   // GELU's tanh approximation, timm's act_layer gelu_tanh

	Eps           float64 // of the LayerNorms; 1e-6 if 0
	PreNorm       bool    // patches without bias, normalised before the blocks
	NoQKVBias     bool
	LayerScale    float64 // where each branch's scale begins; 0: there is none
	NormAfterPool bool    // timm's fc_norm
	Gated         bool    // perceptrons are GEGLUs
	Relative      int     // hidden width of the perceptron of relative positions, which replace the others; 0: there is none
	NoPositions   bool    // and no others
	Convolutions  []int   // widths of convolutions in the place of patches: MobileCLIP's stem
	NaFlex        bool    // images of any shape; Image is for which the table of positions is (naflexvit.py)
	MBConvs       []int   // widths of the two stages of MBConv blocks in the place of patches: ViTamin's
}

// ViTs is the table.
var ViTs = map[string]ViT{
	"vit_base_patch32_siglip_256":     siglip(256, 32, 768, 12, 12, 4, true),
	"vit_base_patch16_siglip_224":     siglip(224, 16, 768, 12, 12, 4, false),
	"vit_base_patch16_siglip_256":     siglip(256, 16, 768, 12, 12, 4, false),
	"vit_base_patch16_siglip_384":     siglip(384, 16, 768, 12, 12, 4, false),
	"vit_base_patch16_siglip_512":     siglip(512, 16, 768, 12, 12, 4, false),
	"vit_large_patch16_siglip_256":    siglip(256, 16, 1024, 24, 16, 4, false),
	"vit_large_patch16_siglip_384":    siglip(384, 16, 1024, 24, 16, 4, false),
	"vit_large_patch16_siglip_512":    siglip(512, 16, 1024, 24, 16, 4, true),
	"vit_so400m_patch14_siglip_224":   siglip(224, 14, 1152, 27, 16, 3.7362, false),
	"vit_so400m_patch14_siglip_378":   siglip(378, 14, 1152, 27, 16, 3.7362, false),
	"vit_so400m_patch14_siglip_384":   siglip(384, 14, 1152, 27, 16, 3.7362, false),
	"vit_so400m_patch16_siglip_256":   siglip(256, 16, 1152, 27, 16, 3.7362, true),
	"vit_so400m_patch16_siglip_384":   siglip(384, 16, 1152, 27, 16, 3.7362, true),
	"vit_so400m_patch16_siglip_512":   siglip(512, 16, 1152, 27, 16, 3.7362, true),
	"vit_giantopt_patch16_siglip_256": siglip(256, 16, 1536, 40, 16, 4, true),
	"vit_giantopt_patch16_siglip_384": siglip(384, 16, 1536, 40, 16, 4, true),

	"naflexvit_base_patch16_siglip":   naflex(siglip(256, 16, 768, 12, 12, 4, true)),
	"naflexvit_so400m_patch16_siglip": naflex(siglip(256, 16, 1152, 27, 16, 3.7362, true)),

	"vit_base_patch32_224":       {Image: 224, Patch: 32, Width: 768, Depth: 12, Heads: 12, MLPRatio: 4, Pool: "token"}, // torchvision's vit_b_32 is the same
	"vit_base_patch16_224":       {Image: 224, Patch: 16, Width: 768, Depth: 12, Heads: 12, MLPRatio: 4, Pool: "token"}, // BiomedCLIP's
	"vit_large_patch14_clip_224": {Image: 224, Patch: 14, Width: 1024, Depth: 24, Heads: 16, MLPRatio: 4, Pool: "token", PreNorm: true, Eps: 1e-5},
	"vit_base_mci_224":           {Image: 224, Patch: 16, Width: 768, Depth: 12, Heads: 12, MLPRatio: 4, Pool: "token", Convolutions: []int{192, 192, 768}},
	"vit_medium_patch16_gap_256": {Image: 256, Patch: 16, Width: 512, Depth: 12, Heads: 8, MLPRatio: 4, Pool: "avg", NoQKVBias: true, LayerScale: 1e-6},
	"vit_relpos_medium_patch16_cls_224": {Image: 224, Patch: 16, Width: 512, Depth: 12, Heads: 8, MLPRatio: 4, Pool: "token", NoQKVBias: true, LayerScale: 1e-6,
		Relative: 256},

	"vitamin_small_224":  vitamin(224, 384, 14, 6, 64),
	"vitamin_base_224":   vitamin(224, 768, 14, 12, 128),
	"vitamin_large_224":  vitamin(224, 1024, 31, 16, 160),
	"vitamin_large_256":  vitamin(256, 1024, 31, 16, 160),
	"vitamin_large_336":  vitamin(336, 1024, 31, 16, 160),
	"vitamin_large_384":  vitamin(384, 1024, 31, 16, 160),
	"vitamin_large2_224": vitamin(224, 1024, 31, 16, 160),
	"vitamin_large2_256": vitamin(256, 1024, 31, 16, 160),
	"vitamin_large2_336": vitamin(336, 1024, 31, 16, 160),
	"vitamin_large2_384": vitamin(384, 1024, 31, 16, 160),
	"vitamin_xlarge_256": unplaced(vitamin(256, 1152, 32, 16, 192)),
	"vitamin_xlarge_336": unplaced(vitamin(336, 1152, 32, 16, 192)),
	"vitamin_xlarge_384": unplaced(vitamin(384, 1152, 32, 16, 192)),
}

func siglip(image, patch, width, depth, heads int, mlpRatio float64, tanh bool) ViT {
	return ViT{Image: image, Patch: patch, Width: width, Depth: depth, Heads: heads, MLPRatio: mlpRatio, Pool: "map", Tanh: tanh}
}

func naflex(v ViT) ViT {
	v.NaFlex = true
	return v
}

// vitamin has stages of MBConv blocks of width stem and twice that.
func vitamin(image, width, depth, heads, stem int) ViT {
	return ViT{Image: image, Patch: 16, Width: width, Depth: depth, Heads: heads, MLPRatio: 2, Pool: "avg", NormAfterPool: true, Gated: true,
		MBConvs: []int{stem, 2 * stem}}
}

// unplaced has no positions, so its images may have another size.
func unplaced(v ViT) ViT {
	v.NoPositions = true
	return v
}
