// Package serve answers HTTP with a CLIP model: embeddings in OpenAI's shape, similarities,
// zero-shot classes, search in an index, a page to try them on, and the forms in which photo
// servers and databases already call such a service (Immich's, Weaviate's, Ollama's, vLLM's).
//
// A [Server] keeps one goroutine that runs the model, a few that decode pictures, and a goroutine
// per request that waits for both. Inputs of all clients share batches. What is accepted is bounded
// in number and in bytes; beyond that a request is refused at once with 429, so nobody waits for
// what will not come. One input that cannot be read fails alone.
//
//	model, err := clip.OpenFS(ctx, models.FS(), models.Default, nil)
//	...
//	s, err := serve.New(model, serve.Options{})
//	...
//	listener, err := net.Listen("tcp", "127.0.0.1:8080")
//	...
//	err = s.Serve(ctx, listener) // until ctx ends; what was accepted is answered
//
// docs/serve.md has the endpoints and flags of infer serve, which this package is.
package serve
