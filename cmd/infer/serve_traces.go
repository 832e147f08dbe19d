package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// collector sends spans to an OpenTelemetry collector: OTLP over HTTP, in JSON. The exporter of
// OpenTelemetry's own library brings gRPC with it, which adds 9 MB to the program.
type collector struct{ at string }

// newTracing makes spans for a collector. end sends what is left.
func newTracing(at string, log *slog.Logger) (p trace.TracerProvider, end func(), err error) {
	about, err := resource.New(context.Background(), resource.WithAttributes(attribute.String("service.name", "goclip"), attribute.String("service.version", version())),
		resource.WithFromEnv()) // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
	if err != nil {
		return nil, nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("spans could not be sent", "error", err) }))
	sdk := sdktrace.NewTracerProvider(sdktrace.WithBatcher(collector{at}), sdktrace.WithResource(about))
	return sdk, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = sdk.Shutdown(ctx) // what cannot be sent has been logged
	}, nil
}

// The messages of OTLP, as its JSON has them: 64-bit integers are strings, ids are hexadecimal.
type (
	otlpRequest struct {
		ResourceSpans []otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource struct {
			Attributes []otlpAttribute `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []otlpScopeSpans `json:"scopeSpans"`
	}
	otlpScopeSpans struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		ParentID   string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
		Status     otlpStatus      `json:"status"`
	}
	otlpStatus struct {
		Code    int    `json:"code,omitempty"`
		Message string `json:"message,omitempty"`
	}
	otlpAttribute struct {
		Key   string         `json:"key"`
		Value map[string]any `json:"value"`
	}
)

// Of OTLP's Status.
const otlpError = 2

func otlpAttributes(list []attribute.KeyValue) (out []otlpAttribute) {
	for _, a := range list {
		value := map[string]any{"stringValue": a.Value.String()}
		if a.Value.Type() == attribute.INT64 {
			value = map[string]any{"intValue": strconv.FormatInt(a.Value.AsInt64(), 10)}
		}
		out = append(out, otlpAttribute{string(a.Key), value})
	}
	return out
}

// ExportSpans sends spans, all of one resource and one tracer.
func (c collector) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	var of otlpScopeSpans
	var all otlpResourceSpans
	for _, s := range spans {
		span := otlpSpan{TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(), Name: s.Name(), Kind: int(s.SpanKind()),
			Start: strconv.FormatInt(s.StartTime().UnixNano(), 10), End: strconv.FormatInt(s.EndTime().UnixNano(), 10), Attributes: otlpAttributes(s.Attributes())}
		if s.Parent().HasSpanID() {
			span.ParentID = s.Parent().SpanID().String()
		}
		if s.Status().Description != "" {
			span.Status = otlpStatus{otlpError, s.Status().Description}
		}
		of.Scope.Name, of.Spans = s.InstrumentationScope().Name, append(of.Spans, span)
		all.Resource.Attributes = otlpAttributes(s.Resource().Attributes())
	}
	all.ScopeSpans = []otlpScopeSpans{of}
	body, err := json.Marshal(otlpRequest{[]otlpResourceSpans{all}})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.at, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the collector %s answered %s", c.at, answer.Status)
	}
	return nil
}

// Shutdown has nothing to do.
func (collector) Shutdown(context.Context) error { return nil }
