package tower

import (
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/internal/settled"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
)

const robertaLength = 48 // the context of robertaModel

// robertaModel is a small random RoBERTa, with dropout in training as published.
func robertaModel(t *testing.T, pooler string) *Roberta {
	t.Helper()
	c, err := ParseConfig([]byte(`{"embed_dim":16,"vision_cfg":{"image_size":8,"patch_size":4,"layers":1,"width":32,"head_width":16},
		"text_cfg":{"context_length":48,"hf_model_name":"tiny","hf_pooler_type":"` + pooler + `","hf_proj_type":"linear","hf_model_config":
		{"vocab_size":100,"hidden_size":32,"num_hidden_layers":3,"num_attention_heads":2,"intermediate_size":48,"max_position_embeddings":50}}}`))
	require.NoError(t, err)
	return randomly(t, newRoberta(c))
}

// robertaBatch has texts of the given lengths and, with inside, padding between their tokens.
func robertaBatch(inside bool, lengths ...int) []int64 {
	tokens := slices.Repeat([]int64{1}, len(lengths)*robertaLength)
	for i, n := range lengths {
		row := tokens[i*robertaLength:]
		for j := range n {
			if !inside || j%3 != 1 || j == n-1 {
				row[j] = int64(7*i+11*j)%90 + 3
			}
		}
	}
	return tokens
}

// TestRobertaTextsDoNotMix holds the feature of each text of a batch, and its gradients, against those of the text alone, in
// float64, because in float32 the gradients of queries and keys are half rounding. That they are transformers' is TestVariants.
func TestRobertaTextsDoNotMix(t *testing.T) {
	poolers := []string{"cls_last_hidden_state_pooler", "cls_pooler", "mean_pooler", "max_pooler"}
	for name, c := range map[string]struct {
		tokens  []int64
		groups  lengthGroups
		padded  []bool
		poolers []string
	}{
		"a long one among short ones": {robertaBatch(false, 4, 3, 48, 2, 5, 4, 20, 21), lengthGroups{{5, 5}, {2, 21}, {1, 48}}, []bool{true, true, false}, poolers},
		"of one length":               {robertaBatch(false, 7, 7, 7), lengthGroups{{3, 7}}, []bool{false}, poolers},
		"of two lengths":              {robertaBatch(false, 40, 7, 40, 7), lengthGroups{{2, 7}, {2, 40}}, []bool{false, false}, poolers},
		"one":                         {robertaBatch(false, 9), lengthGroups{{1, 9}}, []bool{false}, poolers},
		"padding inside":              {robertaBatch(true, 30, 5, 48, 6, 6), lengthGroups{{3, 6}, {1, 30}, {1, 48}}, []bool{true, true, true}, poolers},
		"empty ones":                  {robertaBatch(false, 0, 30, 0, 4), lengthGroups{{3, 4}, {1, 30}}, []bool{true, false}, poolers[:2]}, // no mean, no largest
		"an empty one":                {robertaBatch(false, 0), lengthGroups{{1, 1}}, []bool{true}, poolers[:2]},
	} {
		for _, pooler := range c.poolers {
			t.Run(name+"/"+pooler, func(t *testing.T) {
				m := robertaModel(t, pooler)
				require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
					for _, p := range nn.Params(m) {
						p.Set(s.Alias(p).To(torch.CPU, torch.Float64))
					}
				}))
				n := len(c.tokens) / robertaLength
				before := settled.Count(torch.LiveTensors)
				require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
					texts := m.config.sort(c.tokens, robertaLength)
					assert.Equal(t, c.groups, texts.groups)
					assert.Equal(t, c.padded, texts.padded)
				}))
				for i := range n {
					alone, wanted := robertaRow[float64](t, m, c.tokens[i*robertaLength:(i+1)*robertaLength], 0)
					row, grads := robertaRow[float64](t, m, c.tokens, i)
					assert.InDeltaSlice(t, alone, row, 1e-12, i)
					require.Len(t, grads, len(maps.Collect(nn.Params(m))))
					for key, want := range wanted {
						assert.InDeltaSlice(t, want, grads[key], 1e-12*max(1, slices.Max(want), -slices.Min(want)), "%d %s", i, key)
					}
				}
				assert.Equal(t, before, torch.LiveTensors())
			})
		}
	}
}

// robertaRow is the feature of one text of a batch, and the gradients of a weighted sum of its numbers.
func robertaRow[T float32 | float64](t *testing.T, m *Roberta, tokens []int64, i int) (row []T, grads map[string][]T) {
	t.Helper()
	grads = map[string][]T{}
	require.NoError(t, torch.Do(func(s *torch.Scope) {
		y := m.Forward(torch.FromSlice(s, tokens, len(tokens)/robertaLength, robertaLength)).Select(0, i)
		row = torch.ToSlice[T](y)
		y.Mul(torch.Arange(s, torch.CPU, y.Size(0)).To(torch.CPU, y.DType())).Sum().Backward()
	}))
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		for key, p := range nn.Params(m) {
			if g := torch.Grads(s, []*torch.Tensor{p})[0]; g != nil {
				grads[key] = torch.ToSlice[T](g)
			}
			torch.ZeroGrad([]*torch.Tensor{p})
		}
	}))
	return row, grads
}

// robertaRows are the features of a batch, normalised.
func robertaRows(t *testing.T, m *Roberta, tokens []int64) (rows []float32) {
	t.Helper()
	require.NoError(t, torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, tokens, len(tokens)/robertaLength, robertaLength)
		rows = torch.ToSlice[float32](m.Forward(x).Normalize(1))
	}))
	return rows
}

// TestRobertaOrder encodes a long and short texts in several orders.
func TestRobertaOrder(t *testing.T) {
	m := robertaModel(t, "mean_pooler")
	lengths := []int{48, 3, 4, 20, 3, 21, 4}
	tokens := robertaBatch(false, lengths...)
	want := robertaRows(t, m, tokens)
	for _, order := range [][]int{{6, 5, 4, 3, 2, 1, 0}, {3, 0, 5, 1, 4, 6, 2}, {1, 2, 3, 4, 5, 6, 0}} {
		var shuffled []int64
		for _, i := range order {
			shuffled = append(shuffled, tokens[i*robertaLength:(i+1)*robertaLength]...)
		}
		got := robertaRows(t, m, shuffled)
		for row, i := range order {
			assert.InDeltaSlice(t, want[i*16:(i+1)*16], got[row*16:(row+1)*16], 1e-6, "%v: text %d", order, i)
		}
	}
}

// TestRobertaGroupsRecomputed has dropout draw the same in every group when gradient checkpointing computes a layer again.
func TestRobertaGroupsRecomputed(t *testing.T) {
	m := robertaModel(t, "mean_pooler")
	tokens := robertaBatch(false, 4, 3, 48, 2, 5, 4, 20, 21)
	step := func(training bool) ([]float32, map[string][]float32) {
		torch.ManualSeed(5)
		m.SetTraining(training)
		return robertaRow[float32](t, m, tokens, 6)
	}
	quiet, _ := step(false)
	want, grads := step(true)
	assert.NotEqual(t, quiet, want, "dropout")
	m.SetGradCheckpointing(true)
	got, again := step(true)
	assert.Equal(t, want, got)
	require.Equal(t, len(grads), len(again))
	for key := range grads {
		assert.InDeltaSlice(t, grads[key], again[key], 1e-6, key)
	}
}

// TestRobertaEmptyTextSpoilsNoOther: the mean of no tokens is not a number, in transformers too; the other texts keep theirs.
func TestRobertaEmptyTextSpoilsNoOther(t *testing.T) {
	for _, pooler := range []string{"mean_pooler", "max_pooler"} {
		m := robertaModel(t, pooler)
		both := robertaRows(t, m, robertaBatch(false, 0, 6))
		alone := robertaRows(t, m, robertaBatch(false, 0, 6)[robertaLength:])
		assert.True(t, math.IsNaN(float64(both[0])), pooler)
		assert.InDeltaSlice(t, alone, both[16:], 1e-6, pooler)
	}
}

// TestRobertaLengths counts the tokens of the groups, which a step computes.
func TestRobertaLengths(t *testing.T) {
	m := robertaModel(t, "mean_pooler")
	lengths := func(tokens []int64) []int { return m.Lengths(tokens, robertaLength, torch.Float32) }
	assert.Equal(t, []int{5, 5, 5, 5, 5, 21, 21, 48}, lengths(robertaBatch(false, 4, 3, 48, 2, 5, 4, 20, 21)))
	assert.Equal(t, []int{1, 1}, lengths(robertaBatch(false, 0, 1)))
	assert.Equal(t, []int{30}, lengths(robertaBatch(true, 30)))
}
