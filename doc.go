// Package goclip is the root of CLIP in Go on libtorch. It holds no code:
//
//   - [github.com/goclip/goclip/clip] has the models: both towers, the loss, loading and saving;
//   - [github.com/goclip/goclip/clip/tokenizer] and [github.com/goclip/goclip/clip/preprocess] turn texts and images
//     into what the towers read;
//   - [github.com/goclip/goclip/models] has the small model that goclip ships;
//   - [github.com/goclip/goclip/train] trains and fine-tunes;
//   - [github.com/goclip/goclip/torch] is the binding to libtorch, of use without CLIP too.
//
// The commands are in cmd/infer and cmd/train; cmd/libtorch installs libtorch.
package goclip
