// Records spans with the OpenTelemetry SDK for Go and prints what its own in-memory exporter saw.
//
//	client spans (http|grpc) ENDPOINT   a few spans that say everything a span can say
//	client serve ENDPOINT NEXT          an HTTP service: one request, one server span, one call to NEXT ("-" for none)
//
// The shape of what is printed is that of tests/src/normal.rs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/contrib/propagators/jaeger"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

type object = map[string]any

// propagatorOf gives what OTEL_PROPAGATORS names, which Go's SDK leaves to its users.
func propagatorOf(name string) propagation.TextMapPropagator {
	switch name {
	case "b3":
		return b3.New(b3.WithInjectEncoding(b3.B3SingleHeader))
	case "b3multi":
		return b3.New(b3.WithInjectEncoding(b3.B3MultipleHeader))
	case "jaeger":
		return jaeger.Jaeger{}
	default:
		return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
}

var propagator = propagatorOf(os.Getenv("OTEL_PROPAGATORS"))

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func list[T any](items []T, one func(T) object) object {
	values := make([]object, 0, len(items))
	for _, item := range items {
		values = append(values, one(item))
	}
	return object{"arrayValue": object{"values": values}}
}

func text(v string) object    { return object{"stringValue": v} }
func integer(v int64) object  { return object{"intValue": strconv.FormatInt(v, 10)} }
func double(v float64) object { return object{"doubleValue": v} }
func boolean(v bool) object   { return object{"boolValue": v} }

func value(v attribute.Value) object {
	switch v.Type() {
	case attribute.BOOL:
		return boolean(v.AsBool())
	case attribute.INT64:
		return integer(v.AsInt64())
	case attribute.FLOAT64:
		return double(v.AsFloat64())
	case attribute.STRINGSLICE:
		return list(v.AsStringSlice(), text)
	case attribute.INT64SLICE:
		return list(v.AsInt64Slice(), integer)
	case attribute.FLOAT64SLICE:
		return list(v.AsFloat64Slice(), double)
	case attribute.BOOLSLICE:
		return list(v.AsBoolSlice(), boolean)
	default:
		return text(v.AsString())
	}
}

func attributes(pairs []attribute.KeyValue) object {
	out := object{}
	for _, pair := range pairs {
		out[string(pair.Key)] = value(pair.Value)
	}
	return out
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func normal(span tracetest.SpanStub) object {
	parent := ""
	if span.Parent.SpanID().IsValid() {
		parent = span.Parent.SpanID().String()
	}
	events := []object{}
	for _, event := range span.Events {
		events = append(events, object{"time": nanos(event.Time), "name": event.Name, "attributes": attributes(event.Attributes)})
	}
	links := []object{}
	for _, link := range span.Links {
		links = append(links, object{
			"traceId":    link.SpanContext.TraceID().String(),
			"spanId":     link.SpanContext.SpanID().String(),
			"attributes": attributes(link.Attributes),
		})
	}
	// Go numbers its status codes differently from OTLP: Error is 1 and Ok is 2 here.
	code := map[codes.Code]int{codes.Unset: 0, codes.Ok: 1, codes.Error: 2}[span.Status.Code]
	return object{
		"traceId":      span.SpanContext.TraceID().String(),
		"spanId":       span.SpanContext.SpanID().String(),
		"parentSpanId": parent,
		"traceState":   span.SpanContext.TraceState().String(),
		"name":         span.Name,
		"kind":         int(span.SpanKind),
		"start":        nanos(span.StartTime),
		"end":          nanos(span.EndTime),
		"attributes":   attributes(span.Attributes),
		"events":       events,
		"links":        links,
		"status":       object{"code": code, "message": span.Status.Description},
		"resource":     attributes(span.Resource.Attributes()),
		"scope":        object{"name": span.InstrumentationScope.Name, "version": span.InstrumentationScope.Version},
	}
}

func start(ctx context.Context, protocol, endpoint, service string) (*sdktrace.TracerProvider, *tracetest.InMemoryExporter) {
	var exporter sdktrace.SpanExporter
	var err error
	if protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure(), otlptracegrpc.WithCompressor("gzip"))
	} else {
		exporter, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(endpoint), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	}
	check(err)
	memory := tracetest.NewInMemoryExporter()
	described := resource.NewSchemaless(attribute.String("service.name", service), attribute.IntSlice("numbers", []int{1, 2, 3}))
	return sdktrace.NewTracerProvider(
		sdktrace.WithResource(described),
		sdktrace.WithSyncer(memory),
		sdktrace.WithBatcher(exporter),
	), memory
}

func finish(ctx context.Context, provider *sdktrace.TracerProvider, memory *tracetest.InMemoryExporter) {
	spans := memory.GetSpans()
	check(provider.Shutdown(ctx))
	out := json.NewEncoder(os.Stdout)
	for _, span := range spans {
		check(out.Encode(normal(span)))
	}
}

func spans(ctx context.Context, protocol, endpoint string) {
	provider, memory := start(ctx, protocol, endpoint, "go-client")
	tracer := provider.Tracer("tests.go", trace.WithInstrumentationVersion("1.2.3"))
	rootContext, root := tracer.Start(ctx, "checkout", trace.WithSpanKind(trace.SpanKindServer))
	root.SetAttributes(
		attribute.String("text", "a \"quoted\" naïve 日本 \U0001f600"),
		attribute.String("empty", ""),
		attribute.Int64("largest", math.MaxInt64),
		attribute.Int64("smallest", math.MinInt64),
		attribute.Float64("pi", math.Pi),
		attribute.Float64("tiny", math.SmallestNonzeroFloat64),
		attribute.Bool("yes", true),
		attribute.StringSlice("texts", []string{"a", "", "c"}),
		attribute.Int64Slice("numbers", []int64{1, -2}),
		attribute.Float64Slice("doubles", []float64{0.5, -1.5}),
		attribute.BoolSlice("flags", []bool{true, false}),
	)
	root.AddEvent("cache.miss", trace.WithAttributes(attribute.String("key", "user:17"), attribute.Int("attempt", 2)))
	elsewhere := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{14: 0x0a, 15: 0xbc}, SpanID: trace.SpanID{6: 0x0d, 7: 0xef}, Remote: true,
	})
	_, child := tracer.Start(rootContext, "charge", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithLinks(trace.Link{SpanContext: elsewhere, Attributes: []attribute.KeyValue{attribute.String("why", "retry of")}}))
	child.RecordError(errors.New("card declined"))
	child.SetStatus(codes.Error, "card declined")
	child.End()
	_, producer := tracer.Start(rootContext, "publish", trace.WithSpanKind(trace.SpanKindProducer))
	producer.End()
	_, consumer := tracer.Start(rootContext, "consume", trace.WithSpanKind(trace.SpanKindConsumer))
	consumer.SetStatus(codes.Ok, "")
	consumer.End()
	root.End()
	finish(ctx, provider, memory)
}

func serve(ctx context.Context, endpoint, next string) {
	provider, memory := start(ctx, "http", endpoint, "go-service")
	tracer := provider.Tracer("tests.go")
	done := make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		incoming := propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		serving, span := tracer.Start(incoming, "GET /go", trace.WithSpanKind(trace.SpanKindServer))
		span.SetAttributes(attribute.String("baggage.user", baggage.FromContext(incoming).Member("user").Value()))
		if next != "-" {
			calling, client := tracer.Start(serving, "GET", trace.WithSpanKind(trace.SpanKindClient))
			request, err := http.NewRequestWithContext(calling, "GET", next, nil)
			check(err)
			propagator.Inject(calling, propagation.HeaderCarrier(request.Header))
			response, err := http.DefaultClient.Do(request)
			check(err)
			_, err = io.Copy(io.Discard, response.Body)
			check(err)
			response.Body.Close()
			client.End()
		}
		span.End()
		fmt.Fprint(w, "go")
		close(done)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: http.HandlerFunc(handler)}
	go server.Serve(listener)
	select {
	case <-done:
	case <-time.After(120 * time.Second):
		os.Exit(1)
	}
	check(server.Shutdown(ctx))
	finish(ctx, provider, memory)
}

func main() {
	ctx := context.Background()
	switch {
	case len(os.Args) == 4 && os.Args[1] == "spans":
		spans(ctx, os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "serve":
		serve(ctx, os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "jaeger":
		browse(os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: client spans (http|grpc) ENDPOINT | client serve ENDPOINT NEXT | client jaeger URL")
		os.Exit(2)
	}
}
