package torch

// PackedBytes is the size of what [Tensor.Pack] has added to t; 0 without it.
func (t *Tensor) PackedBytes() (bytes int64) {
	p := t.packed
	if p == nil {
		return 0
	}
	parts := append([]*Tensor{p.weight}, p.bytes...)
	if p.rows != p.bias {
		parts = append(parts, p.rows)
	}
	for _, part := range parts {
		if part != nil {
			bytes += int64(part.Numel() * part.DType().Size())
		}
	}
	if p.object != nil {
		bytes += int64(t.Numel()) // FBGEMM's rows of 8 bits
	}
	return bytes
}
