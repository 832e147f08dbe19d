// Package clip is CLIP (Radford et al., arXiv 2103.00020): models that map images and texts to one space, opened, run,
// changed and saved.
//
//	model, err := clip.Open(ctx, "ViT-B-32:openai", nil)
//	scores, err := model.Score(ctx, []clip.ImageSource{clip.FromFile("dog.jpg")}, []string{"a dog", "a cat"})
//
// There are two levels. Methods that take a context take and return plain Go values and an error: [Model.EncodeImages],
// [Model.EncodeTexts], their streaming forms, [Model.Score], [Model.Classifier], [Model.Classify]. Methods on tensors
// ([Model.EncodeImage], [Model.EncodeText], [Model.Loss]) run inside torch.Do, where they panic with *torch.Error.
//
// The towers are in package tower, the losses in package loss; [NewModel] makes a model of towers of one's own. Weights
// are read and written in the layouts of open_clip, OpenAI and Hugging Face's transformers.
//
// A model's parameters belong to the garbage collector. As long as nobody trains or changes it, it may be used from
// several goroutines at once: callers take turns at the model, each with all of libtorch's threads, while images are
// decoded side by side. [Model.ImageFeatures] and [Model.TextFeatures] take no turns: they are for a program with one
// loop of its own.
package clip
