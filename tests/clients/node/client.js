// Records spans with the OpenTelemetry SDK for Node and prints what its own in-memory exporter saw.
//
//   client.js spans (json|proto|grpc) ENDPOINT   a few spans that say everything a span can say
//   client.js serve ENDPOINT NEXT                an HTTP service: one request, one server span, one call to NEXT
//
// The shape of what is printed is that of tests/src/normal.rs.

import http from "node:http";
import { context, propagation, SpanKind, SpanStatusCode, trace, TraceFlags } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtoExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";

const memory = new InMemorySpanExporter();

function exporter(protocol, endpoint) {
  switch (protocol) {
    case "grpc":
      return new GrpcExporter({ url: `http://${endpoint}` });
    case "json":
      return new JsonExporter({ url: `http://${endpoint}/v1/traces` });
    default:
      return new ProtoExporter({ url: `http://${endpoint}/v1/traces` });
  }
}

function value(v) {
  if (typeof v === "boolean") return { boolValue: v };
  if (typeof v === "number") return Number.isInteger(v) ? { intValue: String(v) } : { doubleValue: v };
  if (Array.isArray(v)) return { arrayValue: { values: v.map(value) } };
  return { stringValue: v };
}

const attributes = (pairs) => Object.fromEntries(Object.entries(pairs ?? {}).map(([k, v]) => [k, value(v)]));
const nanos = ([seconds, rest]) => String(BigInt(seconds) * 1_000_000_000n + BigInt(rest));

function normal(span) {
  const own = span.spanContext();
  return {
    traceId: own.traceId,
    spanId: own.spanId,
    parentSpanId: span.parentSpanContext?.spanId ?? "",
    traceState: own.traceState?.serialize() ?? "",
    name: span.name,
    kind: span.kind + 1,
    start: nanos(span.startTime),
    end: nanos(span.endTime),
    attributes: attributes(span.attributes),
    events: span.events.map((e) => ({ time: nanos(e.time), name: e.name, attributes: attributes(e.attributes) })),
    links: span.links.map((l) => ({
      traceId: l.context.traceId,
      spanId: l.context.spanId,
      attributes: attributes(l.attributes),
    })),
    status: { code: span.status.code, message: span.status.message ?? "" },
    resource: attributes(span.resource.attributes),
    scope: { name: span.instrumentationScope.name, version: span.instrumentationScope.version ?? "" },
  };
}

function start(protocol, endpoint, service) {
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ "service.name": service, numbers: [1, 2, 3] }),
    spanProcessors: [new SimpleSpanProcessor(memory), new BatchSpanProcessor(exporter(protocol, endpoint))],
  });
  provider.register();
  return provider;
}

async function finish(provider) {
  await provider.forceFlush();
  const spans = memory.getFinishedSpans().map(normal);
  await provider.shutdown();
  for (const span of spans) console.log(JSON.stringify(span));
}

async function spans(protocol, endpoint) {
  const provider = start(protocol, endpoint, "node-client");
  const tracer = provider.getTracer("tests.node", "1.2.3");
  tracer.startActiveSpan("checkout", { kind: SpanKind.SERVER }, (root) => {
    root.setAttributes({
      text: 'a "quoted" naïve 日本 \u{1f600}',
      empty: "",
      safe: Number.MAX_SAFE_INTEGER,
      negative: -42,
      pi: Math.PI,
      yes: true,
      texts: ["a", "", "c"],
      numbers: [1, -2],
    });
    root.addEvent("cache.miss", { key: "user:17", attempt: 2 });
    const elsewhere = { traceId: "0".repeat(29) + "abc", spanId: "0".repeat(13) + "def", traceFlags: TraceFlags.SAMPLED };
    const links = [{ context: elsewhere, attributes: { why: "retry of" } }];
    const child = tracer.startSpan("charge", { kind: SpanKind.CLIENT, links });
    child.recordException(new Error("card declined"));
    child.setStatus({ code: SpanStatusCode.ERROR, message: "card declined" });
    child.end();
    tracer.startSpan("publish", { kind: SpanKind.PRODUCER }).end();
    const consumer = tracer.startSpan("consume", { kind: SpanKind.CONSUMER });
    consumer.setStatus({ code: SpanStatusCode.OK });
    consumer.end();
    root.end();
  });
  await finish(provider);
}

async function call(tracer, next) {
  const span = tracer.startSpan("GET", { kind: SpanKind.CLIENT });
  const headers = {};
  propagation.inject(trace.setSpan(context.active(), span), headers);
  await new Promise((resolve, reject) => {
    http.get(next, { headers }, (response) => response.resume().on("end", resolve)).on("error", reject);
  });
  span.end();
}

function serve(endpoint, next) {
  const provider = start("proto", endpoint, "node-service");
  const tracer = provider.getTracer("tests.node");
  const server = http.createServer((request, response) => {
    const incoming = propagation.extract(context.active(), request.headers);
    context.with(incoming, () =>
      tracer.startActiveSpan("GET /node", { kind: SpanKind.SERVER }, async (span) => {
        span.setAttribute("baggage.user", String(propagation.getActiveBaggage()?.getEntry("user")?.value));
        if (next !== "-") await call(tracer, next);
        span.end();
        response.end("node");
        server.close();
        server.closeAllConnections?.call(server);
        await finish(provider);
      }),
    );
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
  setTimeout(() => process.exit(1), 120_000).unref();
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "spans") await spans(rest[0], rest[1]);
else serve(rest[0], rest[1]);
