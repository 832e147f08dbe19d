package serve

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/goclip/goclip/torch"
)

// metrics are what /metrics shows, in a registry of the server's own.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec   // endpoint, code
	seconds  *prometheus.HistogramVec // endpoint, code
	rejected *prometheus.CounterVec   // reason
	failed   *prometheus.CounterVec   // code
	stages   *prometheus.HistogramVec // stage
	sizes    *prometheus.HistogramVec // tower
}

// Seconds from half a millisecond to a minute.
var secondsBuckets = []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60}

func newMetrics(s *Server) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "goclip", Subsystem: "serve", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "goclip", Subsystem: "serve", Name: name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "goclip", Subsystem: "serve", Name: name, Help: help}, value)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("requests_total", "Requests answered.", "endpoint", "code"),
		seconds:  histogram("request_seconds", "Time of a request, from its header to the end of its answer.", secondsBuckets, "endpoint", "code"),
		rejected: counter("rejected_total", "Requests that were not accepted.", "reason"),
		failed:   counter("failed_inputs_total", "Inputs of accepted requests that could not be read.", "reason"),
		stages:   histogram("stage_seconds", "Time of an input's decoding and of its wait for the model, and of a batch's forward pass.", secondsBuckets, "stage"),
		sizes:    histogram("batch_size", "Inputs that went through the model together.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256}, "tower"),
	}
	queued := func(length func(b *batcher) int) func() float64 {
		return func() (n float64) {
			s.models.each(func(e *engine) { n += float64(length(e.batcher)) })
			return n
		}
	}
	m.registry.MustRegister(m.requests, m.seconds, m.rejected, m.failed, m.stages, m.sizes, modelInfo{s},
		gauge("queue_depth", "Inputs accepted and not yet computed.", func() float64 { n, _ := s.admission.depth(); return float64(n) }),
		gauge("body_bytes", "Bytes of the requests that are being answered.", func() float64 { _, n := s.admission.depth(); return float64(n) }),
		gauge("waiting_files", "Images that wait to be decoded.", queued(func(b *batcher) int { return len(b.files) })),
		gauge("waiting_images", "Decoded images that wait for the model.", queued(func(b *batcher) int { return len(b.images) })),
		gauge("waiting_texts", "Texts that wait for the model.", queued(func(b *batcher) int { return len(b.texts) })),
		gauge("weights_bytes", "Bytes of the weights of the models that are loaded.", func() float64 {
			s.models.mu.Lock()
			defer s.models.mu.Unlock()
			return float64(s.models.bytes)
		}),
		gauge("live_tensors", "Handles on libtorch's tensors.", func() float64 { return float64(torch.LiveTensors()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// modelInfo tells of each loaded model.
type modelInfo struct{ *Server }

var modelInfoDesc = prometheus.NewDesc("goclip_serve_model_info", "A loaded model, where it runs and what its products are computed in; always 1.", []string{"model", "device", "embed_dim", "version", "products"}, nil)

func (modelInfo) Describe(ch chan<- *prometheus.Desc) { ch <- modelInfoDesc }

func (s modelInfo) Collect(ch chan<- prometheus.Metric) {
	var list []prometheus.Metric
	s.models.each(func(e *engine) {
		list = append(list, prometheus.MustNewConstMetric(modelInfoDesc, prometheus.GaugeValue, 1, e.name(), e.Device, strconv.Itoa(e.EmbedDim), s.version, e.model.Products()))
	})
	for _, m := range list { // without the lock: who takes them may be slow
		ch <- m
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) stage(name string, took time.Duration) {
	m.stages.WithLabelValues(name).Observe(took.Seconds())
}

func (m *metrics) batch(tower string, size int, took time.Duration) {
	m.sizes.WithLabelValues(tower).Observe(float64(size))
	m.stages.WithLabelValues("forward_" + tower).Observe(took.Seconds())
}
