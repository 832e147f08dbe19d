package estimate

// Traffic is what a process of data-parallel training receives from the others in a step, in bytes; it sends as much.
// No gradient of a feature travels: each process has all features and both log-sum-exp vectors, so the gradient of its
// own features is complete without the others.
type Traffic struct {
	Features  float64 // all-gather of the image and text features, float32
	LogSumExp float64 // all-gather of the largest logit and the sum of each image and each text, float64
	Gradients float64 // all-reduce of the gradients, float32, by rings: a reduce-scatter and an all-gather
}

// TrafficOf estimates a step of world processes on batch pairs in all, with features of embed numbers and so many parameters
// that learn.
func TrafficOf(world, batch, embed, parameters int) Traffic {
	if world < 2 {
		return Traffic{}
	}
	others := float64(world-1) / float64(world)
	return Traffic{
		Features:  others * 2 * 4 * float64(batch) * float64(embed),
		LogSumExp: others * 2 * 16 * float64(batch),
		Gradients: others * 2 * 4 * float64(parameters),
	}
}

// Total is all of it.
func (t Traffic) Total() float64 { return t.Features + t.LogSumExp + t.Gradients }
