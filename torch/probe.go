package torch

import "strings"

// NonFinite is a result that holds a NaN or an infinity.
type NonFinite struct {
	Op     string    // "linear"
	Output string    // "float32[4 50 768]"
	Inputs []*Tensor // tensors without a scope among the arguments, parameters that is
}

// FirstNonFinite runs f as [NoGrad] does and looks at every operator's result until one is not
// finite; nil if all are. It is slow: for the run that has failed already.
func FirstNonFinite(f func(s *Scope)) (found *NonFinite, err error) {
	err = NoGrad(func(s *Scope) {
		p := &probe{}
		s.probe = p
		f(s)
		found = p.found
	})
	return found, err
}

// probe belongs to a scope and those inside it.
type probe struct {
	found   *NonFinite
	looking bool // the operators of the probe itself are not looked at
}

// look notes the first of an operator's results that is not finite.
func (s *Scope) look(op *Op, args []any, results ...*Tensor) {
	if s == nil || s.probe == nil || s.probe.found != nil || s.probe.looking {
		return
	}
	s.probe.looking = true
	defer func() { s.probe.looking = false }()
	for _, t := range results {
		if t == nil || !t.DType().floating() || t.Numel() == 0 || t.IsFinite().All().Item() != 0 {
			continue
		}
		s.probe.found = &NonFinite{Op: strings.TrimSuffix(op.short(), "_"), Output: t.Summary()}
		for _, in := range tensorsIn(args) {
			if in != nil && (in.scope == nil || in.of != nil) {
				s.probe.found.Inputs = append(s.probe.found.Inputs, in)
			}
		}
		return
	}
}

// Same reports whether t and u are one tensor, as a tensor and its [Scope.Alias] are.
func (t *Tensor) Same(u *Tensor) bool { return t.handle("same") == u.handle("same") }
