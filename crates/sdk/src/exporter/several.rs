//! One batch to several exporters.

use super::{Batch, ExportError, Exporter, Report};

/// Gives each batch to all of its exporters. Who has taken it is not given it again while others want another attempt.
pub(crate) struct Several(Vec<(Box<dyn Exporter>, bool)>);

impl Several {
    pub(crate) fn new(exporters: Vec<Box<dyn Exporter>>) -> Self {
        Self(exporters.into_iter().map(|exporter| (exporter, false)).collect())
    }
}

impl Exporter for Several {
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
    fn each_exporter_gets_each_span_once_though_another_wants_an_attempt_more() {
        let (first, second) = (InMemoryExporter::new(), InMemoryExporter::new());
        let several = Several::new(vec![Box::new(first.clone()), Box::new(Hesitant(second.clone()))]);
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
