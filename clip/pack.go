package clip

import (
	"fmt"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

// PackImages prepares the weights of the image tower for encoding many images on the CPU: laid out once for oneDNN, in
// float32, or rounded to bfloat16 or 8 bits, or split for AMX ([torch.Packing]). It takes a copy of them, and a fraction of a second. What is
// encoded without gradients from then on uses it; a model that is packed must not be trained or loaded into. Call it before
// the goroutines that encode.
func (m *Model) PackImages(how torch.Packing) error { return m.pack("image", m.Visual, how) }

// PackTexts is [Model.PackImages] of the text tower.
func (m *Model) PackTexts(how torch.Packing) error { return m.pack("text", m.Text, how) }

// pack prepares every matrix that has a bias beside it, the products of attention and MLPs, and the one that maps patches; not
// embeddings and projections, which are a small part of the work. Pixels are not rounded to 8 bits: with PackInt8 patches are
// products of bfloat16 where the CPU has instructions for them, and of float32 elsewhere.
func (m *Model) pack(name string, t Tower, how torch.Packing) error {
	if d := m.Device(); d != torch.CPU {
		return fmt.Errorf("clip: the %s tower cannot be packed on %s: that is for the CPU", name, d)
	}
	state := map[string]*torch.Tensor{}
	for key, p := range nn.State(t) {
		state[key] = p
	}
	var patches *torch.Tensor
	if t, ok := t.(tower.Patcher); ok {
		patches = t.PatchWeight()
	}
	m.packing = how
	first := how // for patches
	if how == torch.PackInt8 {
		first = torch.PackFloat32
		if cpu.X86.HasAVX512BF16 {
			first = torch.PackBFloat16
		}
	}
	return torch.NoGrad(func(*torch.Scope) {
		for key, w := range state {
			stem, ok := strings.CutSuffix(key, "weight")
			bias := state[stem+"bias"]
			switch {
			case !ok || w.DType() != torch.Float32:
			case w == patches:
				w.Pack(bias, first)
			case bias == nil || w.Dim() != 2:
			case m.Config.QuickGELU && strings.HasSuffix(stem, ".c_fc."):
				w.PackQuickGelu(bias, how)
			default:
				w.Pack(bias, how)
			}
		}
	})
}

// PackedBytes is the size of what [Model.PackImages] and [Model.PackTexts] have added to the weights.
func (m *Model) PackedBytes() (bytes int64) {
	for _, p := range m.Parameters() {
		bytes += p.PackedBytes()
	}
	return bytes
}

// Products names what the towers' matrix products are computed in: "float32", "bfloat16", "float16", "int8", or "bfloat16x3" for
// float32 ones of three bfloat16 products each.
func (m *Model) Products() string {
	switch {
	case m.packing == torch.PackBFloat16x3:
		return "bfloat16x3"
	case m.packing == torch.PackBFloat16:
		return "bfloat16"
	case m.packing == torch.PackInt8:
		return "int8"
	default:
		return m.dtype().String()
	}
}
