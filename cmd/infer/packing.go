package main

import (
	"fmt"
	"io"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/torch"
)

// How many images are worth the copy of the weights that packing makes: for oneDNN, which saves a
// tenth of their time, and for AMX, which saves half of it.
const (
	manyImages = 256
	manyOnAMX  = 16
)

// packImages prepares a float32 model on the CPU for so many images.
func packImages(m *clip.Model, images int, errs io.Writer) error {
	if amx, err := packOnAMX(m, images, errs); amx || err != nil {
		return err
	}
	if p := m.Options.Precision; !p.Float32() || m.Device() != torch.CPU || images <= manyImages {
		return nil
	}
	return m.PackImages(torch.PackFloat32)
}

// packOnAMX does it only where the processor has AMX, and reports whether it has.
func packOnAMX(m *clip.Model, images int, errs io.Writer) (bool, error) {
	if m.Device() != torch.CPU || images <= manyOnAMX || m.Options.Precision.Packing() != torch.PackBFloat16x3 {
		return false, nil
	}
	fmt.Fprintln(errs, "infer: each float32 product runs as three of bfloat16 on AMX; --precision fp32-strict does not split them")
	return true, m.PackImages(torch.PackBFloat16x3)
}
