package nn_test

import (
	"fmt"
	"log"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

// A small network learns exclusive or.
func ExampleSequential() {
	torch.ManualSeed(2)
	net := nn.Sequential{nn.NewLinear(2, 8), nn.Tanh, nn.NewLinear(8, 1)}
	optimizer := optim.NewAdamW(optim.OneGroup(nn.Params(net), 0), optim.AdamWDefaults(0.05))
	for range 200 {
		optimizer.ZeroGrad()
		err := torch.Do(func(s *torch.Scope) {
			x := torch.FromSlice(s, []float32{0, 0, 0, 1, 1, 0, 1, 1}, 4, 2)
			y := torch.FromSlice(s, []float32{0, 1, 1, 0}, 4, 1)
			net.Forward(x).MseLoss(y).Backward()
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := optimizer.Step(); err != nil {
			log.Fatal(err)
		}
	}
	err := torch.NoGrad(func(s *torch.Scope) {
		x := torch.FromSlice(s, []float32{0, 0, 0, 1, 1, 0, 1, 1}, 4, 2)
		fmt.Println(net.Forward(x).Gt(torch.FromSlice(s, []float32{0.5})).Flatten(0, 1))
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: tensor([False,  True,  True, False])
}

// The keys of a model are the tags of its fields.
func ExampleParams() {
	model := struct {
		Embed *nn.Embedding `torch:"embed"`
		Head  nn.Sequential `torch:"head"`
		Width int           `torch:"-"`
	}{nn.NewEmbedding(10, 4), nn.Sequential{nn.NewLayerNorm(4), nn.ReLU, nn.NewLinearNoBias(4, 2)}, 4}
	for key, p := range nn.Params(&model) {
		fmt.Println(key, p.Summary())
	}
	// Output:
	// embed.weight float32[10 4]
	// head.0.weight float32[4]
	// head.0.bias float32[4]
	// head.2.weight float32[2 4]
}
