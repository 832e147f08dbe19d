package torch

// PackedBytes is the size of what [Tensor.Pack] has added to t; 0 without it.
func (t *Tensor) PackedBytes() (bytes int64) {
	p := t.packed
	if p == nil {
		return 0
	}
	for _, part := range p.parts() {
		bytes += int64(part.Numel() * part.DType().Size())
	}
	if p.object != nil {
		bytes += int64(t.Numel()) // FBGEMM's rows of 8 bits
	}
	return bytes
}
