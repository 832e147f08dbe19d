package serve

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/tokenizer"
)

// engine is a loaded model with what runs it.
type engine struct {
	of        *served
	server    *Server
	model     *clip.Model
	tokenizer tokenizer.Encoder
	scale     float64 // of the cosines in a softmax
	batcher   *batcher
	cache     *lru.Cache[string, encoded]
	facts

	users   int  // requests that have it
	retired bool // it is closed when they are through
}

// facts are what stays known of a model when it is unloaded.
type facts struct {
	Device        string
	EmbedDim      int
	ImageSize     [2]int // height, width
	ContextLength int
	Parameters    int
	Scale         float64
	Loaded        time.Time
	Bytes         int64 // of its weights
}

// openEngine opens a model and starts what runs it.
func (s *Server) openEngine(ctx context.Context, of *served) (*engine, error) {
	m, err := of.Open(ctx)
	if err != nil {
		return nil, err
	}
	e := &engine{of: of, server: s, model: m}
	if e.cache, err = lru.New[string, encoded](cachedTexts); err != nil {
		return nil, err
	}
	if e.tokenizer, err = m.Tokenizer(ctx); err != nil {
		return nil, err
	}
	if e.scale, err = m.Scale(); err != nil {
		return nil, err
	}
	size := m.Config.Vision.ImageSize
	e.facts = facts{Device: m.Device().String(), EmbedDim: m.Config.EmbedDim, ImageSize: [2]int{size.Height, size.Width},
		ContextLength: m.ContextLength(), Parameters: m.NumParameters(), Scale: e.scale, Loaded: time.Now()}
	for _, t := range m.State() {
		e.Bytes += int64(t.Numel()) * int64(t.DType().Size())
	}
	e.Bytes += m.PackedBytes()
	e.batcher, err = newBatcher(s, m)
	return e, err
}

// end ends what runs the model and lets go of it. Who still has the engine, as a request that is just ending, may not use it.
func (e *engine) end() {
	e.batcher.close()
	e.model, e.batcher = nil, nil
}

// name is what the API calls the model.
func (e *engine) name() string { return e.of.Name }
