// Package clip is CLIP (Radford et al., arXiv 2103.00020): the picture tower, the text tower, their loss, and model
// directories in open_clip's layout.
//
// The towers are open_clip's, under its state-dict keys: [Vision] and [Text], CLIP's own; [ResNet]; [TimmViT], which is
// SigLIP's; [Roberta]. A [Config] says which; [ConfigNames] lists the published ones.
//
// There are two levels. Methods that take and return *torch.Tensor ([Model.EncodeImage], [Model.EncodeText],
// [Model.Loss]) run inside torch.Do, where they panic with *torch.Error. Everything else takes Go values and returns an
// error: [Open], [Model.Save], [Model.ImageFeatures], [Model.TextFeatures], [Model.Classifier].
//
// A Model's parameters belong to the garbage collector. Features may be computed from several goroutines at once as
// long as no one trains or frees the model; each call runs libtorch on the calling thread, so keep a server's model
// in a few long-lived goroutines.
package clip
