//! One batch to several exporters.

use super::{Batch, ExportError, Exporter, Report};
use std::fmt;

/// Gives each batch to all of its exporters. Who has taken it is not given it again while others want another attempt.
///
/// ```
/// use tracewell::{Config, Exporters, InMemoryExporter, StdoutExporter};
///
/// let both = Exporters::new(StdoutExporter).and(InMemoryExporter::new());
/// let config = Config::new("gallery").exporter(both);
/// # drop(config);
/// ```
pub struct Exporters(Vec<(Box<dyn Exporter>, bool)>);

impl Exporters {
    /// One, so far.
    #[must_use]
    pub fn new(exporter: impl Exporter) -> Self {
        Self(vec![(Box::new(exporter), false)])
    }

    /// And another one.
    #[must_use]
    pub fn and(mut self, exporter: impl Exporter) -> Self {
        self.0.push((Box::new(exporter), false));
        self
    }
}

impl fmt::Debug for Exporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporters").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl Exporter for Exporters {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let mut result = Ok(());
        for (exporter, is_done) in &mut self.0 {
            if batch.attempt() == 1 {
                *is_done = false;
            }
            if *is_done {
                continue;
            }
            let error = exporter.export(batch).err();
            *is_done = !matches!(error, Some(ExportError::Retry { .. } | ExportError::Unreachable(_)));
            if let Some(error) = error {
                // One that asks for another attempt comes before one that has given up.
                let wins = !*is_done || result.is_ok();
                result = if wins { Err(error) } else { result };
            }
        }
        result
    }

    fn report(&mut self, report: &Report<'_>) {
        self.0.iter_mut().for_each(|(exporter, _)| exporter.report(report));
    }
}

#[cfg(all(test, not(feature = "off")))]
mod tests {
    use super::*;
    use crate::{Config, InMemoryExporter, Tracer};
    use std::time::Duration;

    /// Refuses the first attempt of each batch.
    struct Hesitant(InMemoryExporter);

    impl Exporter for Hesitant {
        fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
            if batch.attempt() == 1 {
                return Err(ExportError::Retry { after: None, reason: "later".to_owned() });
            }
            self.0.export(batch)
        }
    }

    #[test]
    fn an_exporter_hands_on_other_spans_than_it_was_given() {
        struct Renamed(InMemoryExporter, u32);
        impl Exporter for Renamed {
            fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
                let mut spans = batch.spans();
                spans.retain(|span| span.name != "unwanted");
                spans.iter_mut().for_each(|span| span.name = "renamed".into());
                let mut buffer = vec![1, 2, 3];
                let Some(batch) = Batch::new(batch.resource(), &spans, &mut buffer) else { return Ok(()) };
                let batch = batch.with_attempt(7);
                self.1 = batch.attempt();
                self.0.export(&batch)
            }
        }
        let recorded = InMemoryExporter::new();
        let tracer = Tracer::new(Config::new("test").exporter(recorded.clone())).unwrap();
        for name in ["wanted", "unwanted"] {
            tracer.span(name).tag("n", 1).start().end();
            tracer.flush(Duration::from_secs(30)).unwrap();
        }
        let mut renamed = Renamed(InMemoryExporter::new(), 0);
        recorded.export_to(&mut renamed).unwrap();
        let mut expected = recorded.spans();
        expected.truncate(1);
        expected[0].name = "renamed".into();
        assert_eq!((renamed.0.spans(), renamed.1), (expected, 7));
        // The request has the resource, too.
        let (resource, mut buffer) = (crate::Resource::new("gallery"), Vec::new());
        let batch = Batch::new(&resource, &renamed.0.spans(), &mut buffer).unwrap();
        assert_eq!(batch.resource().get("service.name"), Some(&"gallery".into()));
        assert!(String::from_utf8_lossy(batch.otlp()).contains("gallery"));
        assert!(Batch::new(&resource, &[], &mut Vec::new()).is_none());
    }

    #[test]
    fn each_exporter_gets_each_span_once_though_another_wants_an_attempt_more() {
        let (first, second) = (InMemoryExporter::new(), InMemoryExporter::new());
        let several = Exporters::new(first.clone()).and(Hesitant(second.clone()));
        let mut config = Config::new("test").exporter(several);
        config.retry.wait = Some(std::sync::Arc::new(|_| {}));
        let tracer = Tracer::new(config).unwrap();
        for _ in 0..2 {
            tracer.span("work").start().end();
            tracer.flush(Duration::from_secs(30)).unwrap();
        }
        assert_eq!((first.spans().len(), second.spans().len()), (2, 2));
    }
}
