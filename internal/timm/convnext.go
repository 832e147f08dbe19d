package timm

// ConvNeXt is a convolutional network of four stages (timm/models/convnext.py).
type ConvNeXt struct {
	Depths, Widths [4]int  // of the stages: their blocks and channels
	Eps            float64 // of the LayerNorms
}

// ConvNeXts is the table.
var ConvNeXts = map[string]ConvNeXt{
	"convnext_tiny":    {[4]int{3, 3, 9, 3}, [4]int{96, 192, 384, 768}, 1e-6},
	"convnext_small":   {[4]int{3, 3, 27, 3}, [4]int{96, 192, 384, 768}, 1e-6},
	"convnext_base":    {[4]int{3, 3, 27, 3}, [4]int{128, 256, 512, 1024}, 1e-6},
	"convnext_large":   {[4]int{3, 3, 27, 3}, [4]int{192, 384, 768, 1536}, 1e-6},
	"convnext_xlarge":  {[4]int{3, 3, 27, 3}, [4]int{256, 512, 1024, 2048}, 1e-6},
	"convnext_xxlarge": {[4]int{3, 4, 30, 3}, [4]int{384, 768, 1536, 3072}, 1e-5},
}
