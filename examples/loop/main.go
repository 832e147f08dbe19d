// Command loop trains a CLIP by hand: the loss and the loop are the program's own.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/models"
	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

func main() {
	model, err := clip.OpenFS(context.Background(), models.FS(), models.Default, nil)
	if err != nil {
		log.Fatal(err)
	}
	tokens, _, err := model.Tokenize(context.Background(), "red noise", "green noise", "blue noise", "grey noise")
	if err != nil {
		log.Fatal(err)
	}
	adam := optim.NewAdamW(optim.OneGroup(model.Parameters(), 0.1), optim.AdamWDefaults(1e-4))
	torch.ManualSeed(1)
	pixels := nn.Normal(1, 4, 3, 64, 64).SetRequiresGrad(false) // four images of 64 x 64 pixels
	for step := range 10 {
		err := torch.Do(func(s *torch.Scope) {
			images := model.EncodeImage(s.Alias(pixels)).Normalize(1)                 // (B, E)
			texts := model.EncodeText(torch.FromSlice(s, tokens, 4, 32)).Normalize(1) // (B, E)
			logits := images.MatMul(texts.T()).Mul(s.Alias(model.LogitScale).Exp())   // (B, B)
			match := torch.Arange(s, torch.CPU, 4)
			loss := logits.CrossEntropy(match).Add(logits.T().CrossEntropy(match)).MulScalar(0.5)
			loss.Backward()
			fmt.Printf("step %d loss %.4f\n", step, loss.Item())
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
