package torch

// Recomputations counts the functions that graphs may run again.
func Recomputations() int64 { return recomputations.Load() }
