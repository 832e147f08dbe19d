package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// probePatience is how long a server may take to say that it is well.
const probePatience = 5 * time.Second

// checkServer asks a running infer serve, as a container's health check does, and looks at nothing
// else.
func checkServer(out io.Writer, addr string) error {
	ctx, stop := context.WithTimeout(context.Background(), probePatience)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		return usageError(fmt.Sprintf("--server %s: must be HOST:PORT, such as 127.0.0.1:8080", addr))
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("--server %s: no infer serve answers: %w", addr, err)
	}
	defer answer.Body.Close()
	var health struct {
		Status, Model, Device string
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&health); err != nil {
		return fmt.Errorf("--server %s: what answers (%s) is not an infer serve", addr, answer.Status)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("--server %s: it answers %s: %s", addr, answer.Status, health.Status)
	}
	_, err = fmt.Fprintf(out, "%s: %s on %s\n", health.Status, health.Model, health.Device)
	return err
}
