// Package pretrained finds published CLIP weights by the names that people know them by, on this
// machine or on the network. [ParseName] reads the names:
//
//   - a model and a tag, "ViT-B-32:openai": [Find] gives the file of weights;
//   - a repository on the Hugging Face hub, "hf-hub:ORG/NAME@REVISION": [FindRepo] gives a
//     directory with its config, weights and tokenizer.
//
// They look, in this order, in
//
//   - goclip's own cache: $GOCLIP_CACHE, else the user's cache directory + "/goclip". Weights of a
//     tag are MODEL/TAG/FILE; repositories are in hub, in huggingface_hub's layout, so that Python
//     reads them with HF_HUB_CACHE set to that directory;
//   - the Hugging Face cache that Python filled: $HF_HUB_CACHE, $HF_HOME/hub,
//     ~/.cache/huggingface/hub;
//   - ~/.cache/clip, where openai/CLIP and open_clip put files that carry a hash;
//
// and only then download. A file is hashed when it arrives or is first met. A record of its size,
// time and SHA-256 is kept, so that later starts read none of its bytes. Nothing is written into
// the caches of other programs. [Push] uploads a repository to the hub.
//
// The environment:
//
//	GOCLIP_CACHE      directory of the cache
//	GOCLIP_MIRROR     base address of a server that has the same paths as the public ones
//	GOCLIP_OFFLINE    1: never touch the network (HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE too)
//	HF_ENDPOINT       address of the hub, when it is not the public one
//	HF_TOKEN          sent to the hub's host, and to no other; else the token of "hf auth login"
//
// What is known of the bytes decides how they are checked. OpenAI's files have a published SHA-256.
// open_clip's releases have the first eight digits of one. The hub has a SHA-256 of each large file
// and git's SHA-1 of each small one. Where there is none, only the size that the server announced
// is checked, and Options.Log says so.
//
// An interrupted download continues where it stopped, in this process or another: the bytes so far
// are in FILE.part. Every function that takes a context stops soon after the context ends, whatever
// a server or another process does. Errors have [ErrNotFound], [ErrOffline] or [ErrChecksum]
// inside.
//
// The table of tags is open_clip 3.3.0's, written by testdata/pretrained/make_table.py for the
// configs in clip/tower/configs. Nothing here needs libtorch or cgo.
package pretrained
