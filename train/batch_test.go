package train

import (
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
)

// TestAhead has micro-batches made one ahead: all of them in their order, the error behind them,
// and none left when the reader has had enough.
func TestAhead(t *testing.T) {
	r := smallRun(t, `{"embed_dim":16,"vision_cfg":`+smallViT+`,"text_cfg":`+smallText+`}`)
	broken := errors.New("broken")
	made := 0
	source := func(n int) iter.Seq2[*micro, error] {
		made = 0
		return func(yield func(*micro, error) bool) {
			for i := range n {
				m, err := r.micro(randomBatch(r, i+1))
				made++
				if err != nil || !yield(m, nil) {
					return
				}
			}
			yield(nil, broken)
		}
	}
	before := settled.Count(torch.LiveTensors)
	var sizes []int
	var last error
	for m, err := range ahead(source(3)) {
		if last = err; err == nil {
			sizes = append(sizes, m.n)
			m.free()
		}
	}
	assert.Equal(t, []int{1, 2, 3}, sizes)
	assert.Equal(t, broken, last)
	for m, err := range ahead(source(100)) {
		require.NoError(t, err)
		time.Sleep(20 * time.Millisecond) // the next is made meanwhile
		m.free()
		break
	}
	assert.LessOrEqual(t, made, 3)
	assert.Equal(t, before, torch.LiveTensors())
}

// TestOneRead has the host read a step's outcome once and nothing else, so that a GPU is given a
// whole step without a wait.
func TestOneRead(t *testing.T) {
	for name, text := range map[string]string{"clip": smallText, "roberta": smallRoberta} {
		r := smallRun(t, `{"embed_dim":16,"vision_cfg":`+smallViT+`,"text_cfg":`+text+`}`)
		r.optimise()
		m, err := r.micro(randomBatch(r, 6))
		require.NoError(t, err)
		before := torch.HostReads()
		out, err := r.step([]*micro{m}, common{n: 6, save: true})
		require.NoError(t, err)
		reads := int64(1)
		if m.texts == nil {
			reads++ // of the tokens, which are on the host
		}
		assert.Equal(t, before+reads, torch.HostReads(), name)
		assert.Equal(t, common{n: 6, save: true}, out.common)
		assert.True(t, finite(out.loss) && finite(out.norm) && out.accuracy >= 0 && out.logitScale > 1, "%+v", out)
		m.free()
	}
}
