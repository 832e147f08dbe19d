// Command dualencoder trains a CLIP whose towers are its own, written from torch and nn alone: a ViT and a RoBERTa-like text
// encoder, each with a linear layer to 512 and a projection head 512 -> 512 with L2 norm, a learnable temperature, and the
// symmetric cross-entropy.
package main

import (
	"fmt"
	"log"
	"math"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

const batch = 8

func main() {
	torch.ManualSeed(1)
	model := &dualEncoder{Image: newViT(16, 8, 32, 2, 4), Text: newTextEncoder(50, 8, 32, 2, 4), Temperature: nn.Constant(math.Log(1 / 0.07))}
	adam := optim.NewAdamW(optim.OneGroup(nn.Params(model), 0.1), optim.AdamWDefaults(1e-3))
	nn.SetTraining(model, true)
	pixels := nn.Normal(1, batch, 3, 16, 16).SetRequiresGrad(false) // random images, and a text for each
	ids := make([]int64, batch*8)
	for i := range ids {
		ids[i] = padding
		if i%8 < 3+i/8%5 {
			ids[i] = int64(2 + (7*i+i/8)%48)
		}
	}
	for step := range 20 {
		err := torch.Do(func(s *torch.Scope) {
			loss, image, text := model.Loss(s.Alias(pixels), torch.FromSlice(s, ids, batch, 8))
			loss.Backward()
			fmt.Printf("step %d loss %.4f, features %v and %v\n", step, loss.Item(), image.Shape(), text.Shape())
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := adam.Step(); err != nil {
			log.Fatal(err)
		}
		adam.ZeroGrad()
	}
}
