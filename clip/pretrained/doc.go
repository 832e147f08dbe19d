// Package pretrained finds published CLIP weights by the names that people know them by: a model ("ViT-B-32", or
// OpenAI's spelling "ViT-B/32") and a tag ("openai", "laion2b_s34b_b79k").
//
// Find looks, in this order, in
//
//   - goclip's own cache: $GOCLIP_CACHE, else the user's cache directory + "/goclip", as MODEL/TAG/FILE;
//   - the Hugging Face cache that Python filled: $HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub;
//   - ~/.cache/clip, where openai/CLIP and open_clip put files that carry a hash;
//
// and only then downloads. A file is hashed when it arrives or is first met; a record beside it keeps its size, time and
// SHA-256, so that later starts read none of its bytes. Files in other programs' caches have their records in goclip's.
//
// The environment:
//
//	GOCLIP_CACHE      directory of the cache
//	GOCLIP_MIRROR     base address of a server that has the same paths as the public ones
//	GOCLIP_OFFLINE    1: never touch the network (HF_HUB_OFFLINE too)
//	HF_ENDPOINT       address of the hub, when it is not the public one
//	HF_TOKEN          sent to the hub's host, and to no other
//
// What is known of the bytes decides how they are checked. OpenAI's files have a published SHA-256; open_clip's releases
// have the first eight digits of one; the hub sends one with each large file. Where there is none, the size that the
// server announced is all there is to check, and Options.Log says so.
//
// Downloads go on where they stopped, by this process or another: the bytes so far lie in FILE.part. The table is
// open_clip 3.3.0's, made by testdata/pretrained/make_table.py. Nothing here needs libtorch or cgo.
package pretrained
