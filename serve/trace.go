package serve

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// begin starts the span of a request, which belongs to the client's trace if its header traceparent
// names one (W3C Trace Context).
func (s *Server) begin(r *http.Request, route route, id string) (*http.Request, trace.Span) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := s.tracer.Start(ctx, route.method+" "+route.path, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", route.method), attribute.String("http.route", route.path), attribute.String("goclip.request_id", id)))
	return r.WithContext(ctx), span
}

func finish(span trace.Span, code int) {
	span.SetAttributes(attribute.Int("http.response.status_code", code))
	if code >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(code))
	}
	span.End()
}

// span records a part of a job's way as a span of its request. size is that of its batch, if it has
// one.
func (s *Server) span(j *job, name string, start, end time.Time, size int) {
	_, span := s.tracer.Start(j.ctx, name, trace.WithTimestamp(start))
	if size > 0 {
		span.SetAttributes(attribute.Int("goclip.batch_size", size))
	}
	span.End(trace.WithTimestamp(end))
}

// stage is span with the stage's time in the metrics, too.
func (s *Server) stage(j *job, name string, start, end time.Time) {
	s.metrics.stage(name, end.Sub(start))
	s.span(j, name, start, end, 0)
}
