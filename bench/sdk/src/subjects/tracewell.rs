use super::{Cost, Subject, endless, polled};
use std::time::Duration;
use tracewell::{Batch, Config, Context, Entered, ExportError, Exporter, FutureExt as _, Sampler, Span};

struct Sink;

impl Exporter for Sink {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        super::count(batch.len(), batch.otlp());
        Ok(())
    }
}

struct Tracewell {
    headers: http::HeaderMap,
    parent: Span,
    context: Context,
    _entered: Entered,
}

pub fn subject(unsampled: bool) -> Box<dyn Subject> {
    let sampler = if unsampled { Sampler::never() } else { Sampler::always() };
    let config = Config::new("bench").exporter(Sink).sampler(Sampler::parent_based(sampler));
    // The second thread finds the tracer there.
    if let Ok(guard) = tracewell::init(config) {
        std::mem::forget(guard);
    }
    let parent = tracewell::span("parent").start();
    let (context, entered) = (parent.context(), parent.enter());
    Box::new(Tracewell { headers: super::headers(), parent, context, _entered: entered })
}

impl Subject for Tracewell {
    fn span(&mut self) {
        let span = tracewell::span("request").tag("http.request.method", "GET").start();
        span.tag("http.response.status_code", 200);
    }

    fn flush(&mut self) {
        tracewell::tracer().flush(Duration::from_secs(10)).expect("a flush");
    }

    fn polls(&mut self) -> Cost {
        polled(Box::pin(endless().in_span(tracewell::span("future").parent(&self.parent.context()).start())))
    }

    fn inject(&mut self) {
        tracewell::inject(&self.context, &mut self.headers);
    }

    fn extract(&mut self) {
        std::hint::black_box(tracewell::extract(&self.headers));
    }
}
