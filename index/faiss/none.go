//go:build !faiss

package faiss

// Built reports whether FAISS is in this program.
const Built = false

// Index is an index of FAISS's.
type Index struct{}

// Train fails.
func Train([]float32, int, int) (*Index, error) { return nil, ErrNotBuilt }

// Open fails.
func Open(string, bool) (*Index, error) { return nil, ErrNotBuilt }

// Rows is 0.
func (*Index) Rows() int { return 0 }

// Dim is 0.
func (*Index) Dim() int { return 0 }

// Lists is 0.
func (*Index) Lists() int { return 0 }

// Probes is 0.
func (*Index) Probes() int { return 0 }

// SetProbes does nothing.
func (*Index) SetProbes(int) {}

// Add fails.
func (*Index) Add([]float32) error { return ErrNotBuilt }

// Search fails.
func (*Index) Search([]float32, int, []byte) ([]int64, error) { return nil, ErrNotBuilt }

// Save fails.
func (*Index) Save(string) error { return ErrNotBuilt }

// Close does nothing.
func (*Index) Close() {}
