// Package serve answers HTTP with CLIP models: embeddings in OpenAI's shape, similarities,
// zero-shot classes, search in an index, a page to try them on, and the forms in which photo
// servers and databases already call such a service (Immich's, Weaviate's, Ollama's, vLLM's).
//
// A [Server] keeps, for each model that is loaded, one goroutine that runs it and a few that decode
// images, and a goroutine per request that waits for both. Models are loaded at their first use, and
// unloaded when nobody uses them or others need their memory. Inputs of all clients share batches. What is accepted is bounded
// in number and in bytes; beyond that a request is refused at once with 429, so nobody waits for
// what will not come. One input that cannot be read fails alone.
//
//	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
//	...
//	s, err := serve.New(ctx, serve.Options{}, serve.Loaded(model))
//	...
//	listener, err := net.Listen("tcp", "127.0.0.1:8080")
//	...
//	err = s.Serve(ctx, listener) // until ctx ends; what was accepted is answered
//
// docs/serve.md has the endpoints and flags of infer serve, which this package is.
package serve
