package timm

// Swin is a transformer of four stages whose attention sees windows (timm/models/swin_transformer.py).
type Swin struct {
	Image, Patch, Window, Width int // Width is the first stage's, and doubles
	Depths, Heads               [4]int
}

// Swins is the table.
var Swins = map[string]Swin{
	"swin_base_patch4_window7_224": {224, 4, 7, 128, [4]int{2, 2, 18, 2}, [4]int{4, 8, 16, 32}},
}
