//! Metric families as text.

use std::fmt::Write;

/// The two formats that differ in little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0: counters are named without `_total` in their description, and an end is marked.
    OpenMetrics,
}

impl Dialect {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A label and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// Text under construction.
pub(super) struct Text {
    dialect: Dialect,
    out: String,
}

impl Text {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, out: String::new() }
    }

    /// Begins a family. A name ends in its unit, where it has one; that of a counter goes on with `_total`.
    pub(super) fn family(&mut self, kind: Kind, name: &str, help: &str) -> Family<'_> {
        let base = name.strip_suffix("_total").unwrap_or(name);
        debug_assert_eq!(kind == Kind::Counter, base != name, "{name}: counters, and only they, end in _total");
        let described = match self.dialect {
            Dialect::Prometheus => name,
            Dialect::OpenMetrics => base,
        };
        let kind_name = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let unit = ["seconds", "bytes"].into_iter().find(|unit| base.ends_with(&format!("_{unit}")));
        let _ = writeln!(self.out, "# HELP {described} {}", escaped(help, false));
        let _ = writeln!(self.out, "# TYPE {described} {kind_name}");
        if let Some(unit) = unit {
            let _ = writeln!(self.out, "# UNIT {described} {unit}");
        }
        Family { text: self, name: name.to_owned() }
    }

    /// A family of one number.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    /// A family of one number that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    pub(super) fn finish(mut self) -> String {
        if self.dialect == Dialect::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// A family whose samples are being written.
pub(super) struct Family<'a> {
    text: &'a mut Text,
    name: String,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        self.line("", labels, None, value);
    }

    /// A histogram: how many observations lie in each bucket alone, the last of which has no upper bound, and their sum.
    pub(super) fn histogram(&mut self, labels: &[Label<'_>], bounds: &[f64], counts: &[u64], sum: f64) {
        let mut below = 0;
        for (place, count) in counts.iter().enumerate() {
            below += count;
            let bound = bounds.get(place).map_or("+Inf".to_owned(), f64::to_string);
            self.line("_bucket", labels, Some(&bound), below as f64);
        }
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, below as f64);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], bound: Option<&str>, value: f64) {
        let out = &mut self.text.out;
        out.push_str(&self.name);
        out.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(out, "{separator}{name}=\"{}\"", escaped(value, true));
            separator = ',';
        }
        if separator == ',' {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
    }
}

/// Backslashes and line feeds, and in labels quotes, escaped as both formats have it.
fn escaped(text: &str, is_label: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if is_label => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}
