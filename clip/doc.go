// Package clip is CLIP (Radford et al., arXiv 2103.00020): the picture tower, the text tower, their loss, and model
// directories in open_clip's layout.
//
// The towers are open_clip's, under its state-dict keys: [Vision] and [Text], CLIP's own; [ResNet]; [TimmViT], which is
// SigLIP's; [Roberta]. A [Config] says which; [tower.ConfigNames] lists the published ones.
//
// There are two levels. Methods that take and return *torch.Tensor ([Model.EncodeImage], [Model.EncodeText],
// [Model.Loss]) run inside torch.Do, where they panic with *torch.Error. Everything else takes Go values and returns an
// error: [Open], [Model.Save], [Model.EncodeImages], [Model.EncodeTexts], [Model.Classifier], [Model.Classify].
//
// A Model's parameters belong to the garbage collector. As long as no one trains or changes it, it may be used from
// several goroutines at once. Methods that take a context are meant for that: callers take turns at the model, each with all of
// libtorch's threads. The others ([Model.ImageFeatures], [Model.TextFeatures]) run at once, beside each other, and are for a program
// that has one loop of its own.
package clip
