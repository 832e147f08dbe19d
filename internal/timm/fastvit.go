package timm

// FastViT is a network of convolutions that fold into fewer for inference, with attention in its
// last stages (timm/models/fastvit.py).
type FastViT struct {
	Depths, Widths []int // of the stages: their blocks and channels
	MLPRatio       float64
	Attention      int  // the first stage with attention
	Excite         int  // the first stage whose downsampling has a squeeze and excitation; 0: none
	Second         bool // MobileCLIP2's S3 and S4: attention behind LayerNorm, a stem without 1 x 1 branches
}

// FastViTs is the table.
var FastViTs = map[string]FastViT{
	"fastvit_mci0": {[]int{2, 6, 10, 2}, []int{64, 128, 256, 512}, 3, 3, 2, false},
	"fastvit_mci1": {[]int{4, 12, 20, 4}, []int{64, 128, 256, 512}, 3, 3, 2, false},
	"fastvit_mci2": {[]int{4, 12, 24, 4}, []int{80, 160, 320, 640}, 3, 3, 2, false},
	"fastvit_mci3": {[]int{2, 12, 24, 4, 2}, []int{96, 192, 384, 768, 1536}, 4, 3, 0, true},
	"fastvit_mci4": {[]int{2, 12, 24, 4, 4}, []int{128, 256, 512, 1024, 2048}, 4, 3, 0, true},
}
