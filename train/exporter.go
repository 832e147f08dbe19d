package train

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/goclip/goclip/torch"
)

// exporter answers Prometheus on Config.MetricsAddr under /metrics. A nil one does nothing.
type exporter struct {
	server   *http.Server
	registry *prometheus.Registry
	addr     string // with the port that was found, for port 0

	mu      sync.Mutex // the page is read while the run continues
	last    Step
	total   int
	bad     int
	waited  float64 // seconds for data, of this sitting
	trained float64 // seconds of steps
	results Metrics
}

// listen begins to serve, on a port that nobody else has.
func listen(addr string) (*exporter, error) {
	socket, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	e := &exporter{registry: prometheus.NewRegistry(), addr: socket.Addr().String()}
	if err := e.registry.Register(e); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{}))
	e.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go e.server.Serve(socket) // until close
	return e, nil
}

func (e *exporter) close() {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := e.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		e.server.Close()
	}
}

func (e *exporter) step(s Step, total, bad int) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last, e.total, e.bad = s, total, bad
	e.waited, e.trained = e.waited+s.DataTime, e.trained+s.StepTime
}

func (e *exporter) result(metrics Metrics) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.results = metrics
}

// Describe says that nothing is known before the first step.
func (e *exporter) Describe(chan<- *prometheus.Desc) {}

// Collect gives what is known now.
func (e *exporter) Collect(out chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	send := func(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("goclip_train_"+name, help, names, nil), kind, value, values...)
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	if s := e.last; s.Step > 0 {
		send(counter, "steps_total", "Optimiser steps done.", float64(s.Step))
		send(gauge, "steps_planned", "Optimiser steps of the whole run.", float64(e.total))
		send(counter, "samples_total", "Pairs seen.", float64(s.Samples))
		send(gauge, "epoch", "Epochs done.", float64(s.Epoch))
		send(gauge, "loss", "Loss of the last step.", s.Loss)
		send(gauge, "samples_per_second", "Pairs a second in the last step.", s.SamplesPerSecond)
		send(gauge, "learning_rate", "Learning rate of the last step.", s.LR)
		send(gauge, "logit_scale", "Factor of the cosines, the inverse temperature.", s.LogitScale)
		send(gauge, "grad_norm", "Norm of the gradient before it was clipped.", s.GradNorm)
		send(gauge, "mfu_ratio", "Fraction of the measured speed of matrix products that the last step used.", s.MFU)
		send(gauge, "duplicate_captions_ratio", "Fraction of the last batch's captions that occur earlier in it.", s.DuplicateCaptions)
		send(counter, "step_seconds_total", "Time of the steps, with the waits for data.", e.trained)
		send(counter, "data_wait_seconds_total", "Time that steps waited for data.", e.waited)
		send(gauge, "data_wait_ratio", "Fraction of the last step spent waiting for data.", s.DataTime/s.StepTime)
	}
	send(gauge, "unreadable_samples", "Samples that could not be read.", float64(e.bad))
	send(gauge, "live_tensors", "Handles on libtorch's tensors.", float64(torch.LiveTensors()))
	if rss := residentBytes(); rss > 0 {
		send(gauge, "resident_memory_bytes", "Resident memory of the process.", rss)
	}
	for name, value := range e.results {
		if name != "step" && name != "epoch" {
			send(gauge, "evaluation", "Metrics of the last evaluation, as results.jsonl names them.", value, "metric", name)
		}
	}
}

// residentBytes is the process's resident memory, 0 where /proc does not tell.
func residentBytes() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize())
}
