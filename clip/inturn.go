package clip

import "context"

// inTurn runs f when the callers that came before are through with the model. When ctx ends, its error is returned at once;
// f is then never begun, or ends with nobody waiting, so it must write to nothing that the caller uses after an error.
// A panic of f is the caller's.
func (m *Model) inTurn(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	type outcome struct {
		err    error
		thrown any
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.thrown = recover()
			<-m.turn
			done <- o
		}()
		o.err = f()
	}()
	select {
	case o := <-done:
		if o.thrown != nil {
			panic(o.thrown)
		}
		return o.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
