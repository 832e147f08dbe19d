package clip

import (
	"errors"
	"fmt"
	"sync"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// A GPU encodes one image in less time than it takes to tell it how, kernel by kernel. graphs are the towers at the shapes of
// the batches that came, each captured at its second batch and replayed from then on.
type graphs struct {
	mutex sync.Mutex // a graph works on tensors of its own
	cache torch.GraphCache[graphShape, towerWork]
	log   func(format string, args ...any)
}

// graphShape is what two batches must share for one graph: their number and, of texts, the tokens.
type graphShape struct{ images, texts, tokens int }

// towerWork is a captured tower's input and its rows.
type towerWork struct{ x, y *torch.Tensor }

// maxGraphs is how many shapes are captured; others are computed kernel by kernel.
const maxGraphs = 64

// UseGraphs has ImageFeatures and TextFeatures, and what is built on them, replay CUDA graphs: for a model on a GPU that is
// asked for few images or texts at a time, and is there for long. Texts need half precision, [Model.Cast]. It is called
// before anybody encodes, and the model must not change afterwards.
func (m *Model) UseGraphs() error {
	switch {
	case m.Device().Type != "cuda":
		return marked{fmt.Errorf("clip: CUDA graphs are for a model on a GPU, and this one is on %s", m.Device()), ErrUnsupported}
	case !torch.CanCapture():
		return marked{errors.New("clip: this program is built without CUDA graphs: make build-cuda builds it with them"), ErrUnsupported}
	}
	m.graphs = &graphs{cache: torch.GraphCache[graphShape, towerWork]{Max: maxGraphs}, log: m.Options.log}
	return nil
}

// rows is encode(x), replayed where it can be. texts are those of x, nil for images.
func (g *graphs) rows(at graphShape, texts *tower.Texts, x *torch.Tensor, encode func(texts *tower.Texts, x *torch.Tensor) *torch.Tensor) ([]float32, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	graph, work, err := g.cache.Get(at, func() (*torch.Graph, towerWork, error) { return captureTower(texts, x, encode) })
	if err != nil {
		g.log("batches of one shape (%+v) are encoded without a CUDA graph: %v", at, err)
	}
	if graph == nil {
		return torch.ToSlice[float32](encode(texts, x)), nil
	}
	x.Borrow(work.x).CopyFrom(x)
	graph.Replay()
	return torch.ToSlice[float32](work.y), nil
}

func captureTower(texts *tower.Texts, x *torch.Tensor, encode func(texts *tower.Texts, x *torch.Tensor) *torch.Tensor) (*torch.Graph, towerWork, error) {
	work := towerWork{x: x.Clone().Keep()}
	work.y = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return encode(texts, x) }, x).Keep()
	graph, err := torch.Capture(work.x.Device(), func() error {
		return torch.NoGrad(func(s *torch.Scope) { s.Alias(work.y).CopyFrom(encode(texts, s.Alias(work.x))) })
	})
	if err != nil {
		work.x.Free()
		work.y.Free()
	}
	return graph, work, err
}
