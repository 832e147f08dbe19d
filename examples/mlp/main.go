// Command mlp teaches a small network the exclusive or, with torch alone.
package main

import (
	"fmt"
	"log"

	"github.com/goclip/goclip/torch"
	"github.com/goclip/goclip/torch/nn"
	"github.com/goclip/goclip/torch/optim"
)

func main() {
	torch.ManualSeed(1)
	net := nn.Sequential{nn.NewLinear(2, 8), nn.Tanh, nn.NewLinear(8, 1), nn.Sigmoid}
	sgd := optim.NewSGD(optim.OneGroup(nn.Params(net), 0), optim.SGDOptions{LR: 1, Momentum: 0.9})
	for step := range 300 {
		err := torch.Do(func(s *torch.Scope) {
			x := torch.FromSlice(s, []float32{0, 0, 0, 1, 1, 0, 1, 1}, 4, 2)
			y := torch.FromSlice(s, []float32{0, 1, 1, 0}, 4, 1)
			loss := net.Forward(x).MseLoss(y)
			loss.Backward()
			if step%100 == 0 || step == 299 {
				fmt.Printf("step %d loss %.4f\n", step, loss.Item())
			}
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := sgd.Step(); err != nil {
			log.Fatal(err)
		}
		sgd.ZeroGrad()
	}
}
