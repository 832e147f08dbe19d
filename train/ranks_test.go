package train

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/clip/loss"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/distributed"
)

// rankTask is what TestRankWorker does in a process of its own.
type rankTask struct {
	Config string
	Size   int    // of a micro-batch
	IDs    bool   // equal images and captions
	Again  bool   // gradient checkpointing
	Out    string // where rank 0 writes the gradients
}

const rankPairs = 24 // of all processes

func (task rankTask) ids(r *stepper) (images, texts []int64) {
	for i := range rankPairs {
		images, texts = append(images, int64(i/2)), append(texts, int64(i%9))
	}
	return images, texts
}

// micros are this process's micro-batches.
func (task rankTask) micros(r *stepper) (micros []*micro) {
	b := randomBatch(r, rankPairs)
	b.ImageIDs, b.TextIDs = task.ids(r)
	own := rankPairs / r.group.Size()
	for from := 0; from < own; from += task.Size {
		first := r.group.Rank()*own + from
		last := min(first+task.Size, (r.group.Rank()+1)*own)
		p := part(r, b, first, last)
		p.ImageIDs, p.TextIDs = b.ImageIDs[first:last], b.TextIDs[first:last]
		m, err := r.micro(p)
		if err != nil {
			panic(err)
		}
		micros = append(micros, m)
	}
	return micros
}

// TestRankWorker is no test: TestGradientsOfProcesses starts it.
func TestRankWorker(t *testing.T) {
	text := os.Getenv("GOCLIP_RANK_TASK")
	if text == "" {
		t.Skip("TestGradientsOfProcesses starts this")
	}
	var tasks []rankTask
	require.NoError(t, json.Unmarshal([]byte(text), &tasks))
	torch.SetNumThreads(1)
	w, err := distributed.FromEnvironment()
	require.NoError(t, err)
	group, err := distributed.Init(t.Context(), w, distributed.Options{})
	require.NoError(t, err)
	for _, task := range tasks {
		r := smallRun(t, task.Config)
		r.group, r.matchIDs = group, task.IDs
		require.NoError(t, r.model.SetGradCheckpointing(task.Again))
		var params []*torch.Tensor
		for _, p := range r.model.Parameters() {
			if p.RequiresGrad() {
				params = append(params, p)
			}
		}
		r.reducer, err = distributed.NewReducer(group, params, 1<<14)
		require.NoError(t, err)
		micros := task.micros(r)
		for range 2 { // the second step sends early
			takeGradients(t, r.model)
			var totals []float64
			require.NoError(t, torch.Do(func(s *torch.Scope) {
				loss, accuracy := r.gradients(s, micros)
				all := torch.Stack(0, loss.To(r.device, torch.Float64), accuracy.To(r.device, torch.Float64))
				group.AllReduce(all)
				totals = torch.ToSlice[float64](all)
			}))
			_, err = r.reducer.Finish()
			require.NoError(t, err)
			if group.Rank() != 0 {
				continue
			}
			gradients := takeGradients(t, r.model)
			gradients["loss"], gradients["accuracy"] = []float32{float32(totals[0])}, []float32{float32(totals[1])}
			out, err := json.Marshal(gradients)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(task.Out, out, 0o644))
		}
		r.reducer.Close()
	}
	require.NoError(t, group.Close())
}

// TestGradientsOfProcesses holds the gradients of 2 and 4 real processes, with micro-batches of
// several sizes, against the dense loss of one process on the whole batch.
func TestGradientsOfProcesses(t *testing.T) {
	vit := `{"image_size":32,"layers":2,"width":64,"head_width":32,"patch_size":8}`
	configs := map[string]string{
		"clip":   `{"embed_dim":16,"vision_cfg":` + vit + `,"text_cfg":` + smallText + `}`,
		"siglip": `{"embed_dim":16,"init_logit_bias":-10,"vision_cfg":` + vit + `,"text_cfg":` + smallText + `}`,
	}
	for _, world := range []int{2, 4} {
		t.Run(fmt.Sprint(world), func(t *testing.T) {
			var tasks []rankTask
			var names []string
			for name, config := range configs {
				for _, size := range []int{1, 4, rankPairs / world} {
					for _, c := range []struct{ ids, again bool }{{}, {ids: true}, {again: true}} {
						out := filepath.Join(t.TempDir(), fmt.Sprint(len(tasks)))
						tasks = append(tasks, rankTask{Config: config, Size: size, IDs: c.ids, Again: c.again, Out: out})
						names = append(names, fmt.Sprintf("%s, micro-batches of %d, ids %t, checkpointing %t", name, size, c.ids, c.again))
					}
				}
			}
			text, err := json.Marshal(tasks)
			require.NoError(t, err)
			store, err := distributed.Serve(0)
			require.NoError(t, err)
			defer store.Close()
			var started []*exec.Cmd
			for rank := range world {
				c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestRankWorker$")
				c.Env = append(os.Environ(), "GOCLIP_RANK_TASK="+string(text), fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("LOCAL_RANK=%d", rank),
					fmt.Sprintf("WORLD_SIZE=%d", world), fmt.Sprintf("LOCAL_WORLD_SIZE=%d", world), "MASTER_ADDR=127.0.0.1",
					fmt.Sprintf("MASTER_PORT=%d", store.Port), "TORCHELASTIC_USE_AGENT_STORE=True")
				c.Stderr, c.Stdout = os.Stderr, os.Stderr
				require.NoError(t, c.Start())
				started = append(started, c)
			}
			for rank, c := range started {
				require.NoError(t, c.Wait(), "rank %d", rank)
			}
			for i, task := range tasks {
				text, err := os.ReadFile(task.Out)
				require.NoError(t, err)
				var got map[string][]float32
				require.NoError(t, json.Unmarshal(text, &got))
				t.Run(names[i], func(t *testing.T) { sameGradients(t, dense(t, task), got, 1e-5) })
			}
		})
	}
}

// dense are the gradients of the whole batch through one graph and the N x N matrix, with "loss"
// the loss and "accuracy" the accuracy.
func dense(t *testing.T, task rankTask) map[string][]float32 {
	r := smallRun(t, task.Config)
	total, right := 0.0, 0.0
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		all := task
		all.Size = rankPairs
		m := all.micros(r)[0]
		pixels, captions := r.onDevice(s, m)
		images, texts, scale := r.encodeImage(pixels), r.encodeText(m)(captions), s.Alias(r.model.LogitScale).Exp()
		var l *torch.Tensor
		switch {
		case task.IDs:
			l = denseWithIDs(s, r, m, images, texts, scale)
		case r.model.LogitBias != nil:
			l = loss.Sigmoid(images, texts, scale, s.Alias(r.model.LogitBias))
		default:
			l = loss.Contrastive(images, texts, scale)
		}
		l.Backward()
		total, right = l.Item(), accuracy(images.Detach(), texts.Detach(), r.group).Item()
	}))
	out := takeGradients(t, r.model)
	assert.NotEmpty(t, out)
	out["loss"], out["accuracy"] = []float32{float32(total)}, []float32{float32(right)}
	return out
}

// denseWithIDs is the loss whose matches are all pairs that share an image or a caption, by the
// matrix of them.
func denseWithIDs(s *torch.Scope, r *stepper, m *micro, images, texts, scale *torch.Tensor) *torch.Tensor {
	matches := make([]float32, rankPairs*rankPairs)
	for i := range rankPairs {
		for j := range rankPairs {
			if m.imageIDs[i] == m.imageIDs[j] || m.textIDs[i] == m.textIDs[j] {
				matches[i*rankPairs+j] = 1
			}
		}
	}
	match := torch.FromSlice(s, matches, rankPairs, rankPairs)
	logits := images.MatMul(texts.T()).Mul(scale)
	if bias := r.model.LogitBias; bias != nil {
		return logits.Add(s.Alias(bias)).Mul(match.MulScalar(2).AddScalar(-1)).LogSigmoid().Sum().MulScalar(-1.0 / rankPairs)
	}
	target := match.Div(match.SumDim(1).Unsqueeze(1)) // rows that sum to 1
	cross := func(x *torch.Tensor) *torch.Tensor {
		return torch.NewOp("aten::log_softmax.int").Call(x, 1).Mul(target).Sum().MulScalar(-1.0 / rankPairs)
	}
	return cross(logits).Add(cross(logits.T())).MulScalar(0.5)
}
