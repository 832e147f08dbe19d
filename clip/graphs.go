package clip

import (
	"errors"
	"fmt"
	"sync"

	"github.com/goclip/goclip/clip/tower"
	"github.com/goclip/goclip/torch"
)

// A GPU encodes one picture in less time than it takes to tell it how, kernel by kernel. graphs are the towers at the shapes of the batches
// that came, each captured at its second batch and replayed from then on.
type graphs struct {
	mutex  sync.Mutex // a graph works on tensors of its own
	towers map[graphShape]*towerGraph
}

// graphShape is what two batches must share for one graph: their number and, of texts, the tokens.
type graphShape struct{ pictures, texts, tokens int }

type towerGraph struct {
	graph *torch.Graph // nil until the second batch: the first prepares what libraries need
	x, y  *torch.Tensor
}

// mostGraphs is how many shapes are captured; others are computed kernel by kernel.
const mostGraphs = 64

// UseGraphs has ImageFeatures and TextFeatures, and what is built on them, replay CUDA graphs: for a model on a GPU that is asked for few
// pictures or texts at a time, and is there for long. Texts want half precision, [Model.Cast]. It is called before anybody encodes, and
// the model must not change afterwards.
func (m *Model) UseGraphs() error {
	switch {
	case m.Device().Type != "cuda":
		return fmt.Errorf("clip: CUDA graphs are for a model on a GPU, and this one is on %s", m.Device())
	case !torch.CanCapture():
		return errors.New("clip: this program is built without CUDA graphs: make build-cuda builds it with them")
	}
	m.graphs = &graphs{towers: map[graphShape]*towerGraph{}}
	return nil
}

// rows is encode(x), replayed where it can be. texts are those of x, nil for pictures.
func (g *graphs) rows(at graphShape, texts *tower.Texts, x *torch.Tensor, encode func(texts *tower.Texts, x *torch.Tensor) *torch.Tensor) ([]float32, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	t, known := g.towers[at]
	if !known && len(g.towers) < mostGraphs {
		g.towers[at] = &towerGraph{}
	}
	if !known {
		return torch.ToSlice[float32](encode(texts, x)), nil
	}
	if t.graph == nil {
		if err := t.capture(texts, x, encode); err != nil {
			return nil, err
		}
	}
	x.Borrow(t.x).CopyFrom(x)
	t.graph.Replay()
	return torch.ToSlice[float32](t.y), nil
}

func (t *towerGraph) capture(texts *tower.Texts, x *torch.Tensor, encode func(texts *tower.Texts, x *torch.Tensor) *torch.Tensor) (err error) {
	t.x = x.Clone().Keep()
	t.y = torch.Tidy(func(x *torch.Tensor) *torch.Tensor { return encode(texts, x) }, x).Keep()
	t.graph, err = torch.Capture(t.x.Device(), func() error {
		return torch.NoGrad(func(s *torch.Scope) { s.Alias(t.y).CopyFrom(encode(texts, s.Alias(t.x))) })
	})
	return err
}
