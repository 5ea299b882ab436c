"""Records spans with the OpenTelemetry SDK for Python and prints what its own in-memory exporter saw.

    client.py spans (http|grpc) ENDPOINT     a few spans that say everything a span can say
    client.py metrics (http|grpc) ENDPOINT   the same spans, and metrics: the program's and what the SDK tells of itself;
                                             prints one line: how many spans, and how each export of metrics went
    client.py serve ENDPOINT NEXT            an HTTP service: one request, one server span, one call to NEXT ("-" for none);
                                             prints its port on the first line

Else one JSON object a span goes to standard output, in the shape that tests/src/normal.rs compares.
"""

import base64
import json
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry import baggage, metrics, propagate, trace
from opentelemetry.context import attach
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode


def exporter(protocol, endpoint):
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"http://{endpoint}/v1/traces")


def metric_exporter(protocol, endpoint):
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter(endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(endpoint=f"http://{endpoint}/v1/metrics")


def value(v):
    if isinstance(v, bool):
        return {"boolValue": v}
    if isinstance(v, int):
        return {"intValue": str(v)}
    if isinstance(v, float):
        return {"doubleValue": v}
    if isinstance(v, bytes):
        return {"bytesValue": base64.b64encode(v).decode()}
    if isinstance(v, (list, tuple)):
        return {"arrayValue": {"values": [value(x) for x in v]}}
    return {"stringValue": v}


def attributes(pairs):
    return {k: value(v) for k, v in (pairs or {}).items()}


def normal(span):
    context = span.get_span_context()
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "parentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
        "traceState": context.trace_state.to_header(),
        "name": span.name,
        "kind": span.kind.value + 1,
        "start": str(span.start_time),
        "end": str(span.end_time),
        "attributes": attributes(span.attributes),
        "events": [
            {"time": str(e.timestamp), "name": e.name, "attributes": attributes(e.attributes)} for e in span.events
        ],
        "links": [
            {
                "traceId": f"{l.context.trace_id:032x}",
                "spanId": f"{l.context.span_id:016x}",
                "attributes": attributes(l.attributes),
            }
            for l in span.links
        ],
        "status": {"code": span.status.status_code.value, "message": span.status.description or ""},
        "resource": attributes(span.resource.attributes),
        "scope": {"name": span.instrumentation_scope.name, "version": span.instrumentation_scope.version or ""},
    }


def start(protocol, endpoint, service):
    provider = TracerProvider(resource=Resource.create({"service.name": service, "numbers": [1, 2, 3]}))
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.add_span_processor(BatchSpanProcessor(exporter(protocol, endpoint)))
    trace.set_tracer_provider(provider)
    return provider, memory


def finish(provider, memory):
    provider.shutdown()
    for span in memory.get_finished_spans():
        print(json.dumps(normal(span)))


def spans(protocol, endpoint):
    provider, memory = start(protocol, endpoint, "python-client")
    record(provider)
    finish(provider, memory)


def spans_and_metrics(protocol, endpoint):
    exporter = metric_exporter(protocol, endpoint)
    results = []

    def export(*arguments, export=exporter.export, **named):
        results.append(export(*arguments, **named))
        return results[-1]

    exporter.export = export
    meters = MeterProvider([PeriodicExportingMetricReader(exporter)], Resource.create({"service.name": "python-client"}))
    metrics.set_meter_provider(meters)
    meter = meters.get_meter("tests.python")
    meter.create_counter("orders").add(3, {"country": "nl"})
    meter.create_up_down_counter("carts").add(-1)
    meter.create_histogram("order.value").record(12.5)
    meter.create_observable_gauge("temperature", [lambda _: [metrics.Observation(21.5)]])
    provider, memory = start(protocol, endpoint, "python-client")
    record(provider)
    provider.shutdown()
    meters.shutdown()
    print(json.dumps({"spans": len(memory.get_finished_spans()), "exports": [result.name for result in results]}))


def record(provider):
    tracer = provider.get_tracer("tests.python", "1.2.3")
    with tracer.start_as_current_span("checkout", kind=SpanKind.SERVER) as root:
        root.set_attribute("text", "a \"quoted\" naïve 日本 \U0001f600")
        root.set_attribute("empty", "")
        root.set_attribute("largest", 2**63 - 1)
        root.set_attribute("smallest", -(2**63))
        root.set_attribute("pi", 3.141592653589793)
        root.set_attribute("tiny", 5e-324)
        root.set_attribute("yes", True)
        root.set_attribute("texts", ["a", "", "c"])
        root.set_attribute("numbers", [1, -2])
        root.set_attribute("doubles", [0.5, -1.5])
        root.set_attribute("raw", bytes(range(256)))
        root.add_event("cache.miss", {"key": "user:17", "attempt": 2})
        elsewhere = trace.SpanContext(0xABC, 0xDEF, is_remote=True)
        with tracer.start_as_current_span(
            "charge", kind=SpanKind.CLIENT, links=[Link(elsewhere, {"why": "retry of"})]
        ) as child:
            try:
                raise ValueError("card declined")
            except ValueError as error:
                child.record_exception(error)
                child.set_status(Status(StatusCode.ERROR, "card declined"))
        with tracer.start_as_current_span("publish", kind=SpanKind.PRODUCER):
            pass
        with tracer.start_as_current_span("consume", kind=SpanKind.CONSUMER) as span:
            span.set_status(Status(StatusCode.OK))


def serve(endpoint, following):
    provider, memory = start("http", endpoint, "python-service")
    tracer = provider.get_tracer("tests.python")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            # Attached, not only given to the span: the baggage has to be current for the call below, too.
            attach(propagate.extract(self.headers))
            with tracer.start_as_current_span("GET /python", kind=SpanKind.SERVER) as span:
                span.set_attribute("baggage.user", str(baggage.get_baggage("user")))
                if following != "-":
                    with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT):
                        headers = {}
                        propagate.inject(headers)
                        urllib.request.urlopen(urllib.request.Request(following, headers=headers), timeout=60).read()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"python")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.timeout = 120
    print(server.server_address[1], flush=True)
    server.handle_request()
    finish(provider, memory)


if __name__ == "__main__":
    if sys.argv[1] == "spans":
        spans(sys.argv[2], sys.argv[3])
    elif sys.argv[1] == "metrics":
        spans_and_metrics(sys.argv[2], sys.argv[3])
    else:
        serve(sys.argv[2], sys.argv[3])
