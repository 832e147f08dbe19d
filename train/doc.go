// Package train fine-tunes a CLIP, or trains one from nothing: data, loop, schedule, evaluation, checkpoints.
//
// [Run] does what cmd/train does; its [Options] carry open_clip's names and meanings. A run that is stopped and resumed
// computes the same losses as one that never stopped: batches, augmentation and patch dropout follow from the seed and
// the step, and the checkpoint holds the rest. Run uses libtorch from the calling goroutine alone.
package train
