// Package train fine-tunes a CLIP, or trains one from nothing: data, loop, schedule, evaluation,
// checkpoints.
//
// [New] takes a model, a [Dataset] and a [Config], each of whose zero fields is a default. The loop
// is the caller's, over [Trainer.Steps], or [Trainer.Run]'s:
//
//	t, err := train.New(m, set, &train.Config{Epochs: 5, Dir: "runs/photos"})
//	...
//	defer t.Close()
//	for step, err := range t.Steps(ctx) {
//		...
//	}
//
// Batches, augmentation and patch dropout follow from the seed and the step, and the checkpoint
// holds the rest: what [Resume] continues computes the same losses, bit for bit, as a run that
// never stopped. The gradient is that of the whole batch, whatever its micro-batches
// (Config.AccumFreq) and processes (Config.Group). A Trainer uses libtorch from the calling
// goroutine alone.
package train
