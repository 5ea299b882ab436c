//! The critical paths of many traces as one flame graph (Gregg, "The Flame Graph", CACM 2016): how wide a frame is says how
//! long requests waited for it.

use std::collections::BTreeMap;
use std::fmt::Write;

use tracewell_model::Trace;

use crate::critical_path::critical_path_on;
use crate::outline::Outline;
use crate::timeline::Timeline;

/// Call paths with the nanoseconds of critical path that are theirs, summed over traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flame {
    stacks: BTreeMap<Vec<String>, u64>,
    traces: u64,
}

impl Flame {
    /// Adds the critical path of a trace.
    pub fn add(&mut self, trace: &Trace) {
        self.traces += 1;
        let outline = Outline::of(trace);
        let timeline = Timeline::corrected(&outline);
        for piece in critical_path_on(&outline, &timeline) {
            let ancestors = std::iter::successors(Some(piece.span), |row| trace.parent(*row));
            let mut stack: Vec<String> = ancestors
                .map(|row| {
                    let span = trace.span(row);
                    format!("{}: {}", span.service(), span.name()).replace([';', '\n'], ",")
                })
                .collect();
            stack.reverse();
            *self.stacks.entry(stack).or_default() += piece.duration_nanos();
        }
    }

    /// A line a call path: frames separated by `;`, a space, microseconds. What flame graph programs read.
    pub fn folded(&self) -> String {
        let mut out = String::new();
        for (stack, nanos) in &self.stacks {
            let _ = writeln!(out, "{} {}", stack.join(";"), nanos.div_ceil(1_000));
        }
        out
    }

    /// A picture that needs nothing but itself. Each frame's tooltip says what it is and what it takes a trace.
    pub fn svg(&self) -> String {
        let mut frames: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for (stack, nanos) in &self.stacks {
            for depth in 1..=stack.len() {
                *frames.entry(stack[..depth].to_vec()).or_default() += nanos;
            }
        }
        let total: u64 = frames.iter().filter(|(stack, _)| stack.len() == 1).map(|(_, nanos)| nanos).sum();
        let deepest = frames.keys().map(Vec::len).max().unwrap_or(0);
        let (width, row) = (1_200.0, 18.0);
        let height = row * deepest as f64 + 30.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"11\"><text x=\"4\" y=\"16\">Critical path of {} traces, {} each on average</text>\n",
            self.traces,
            crate::wording::duration(total / self.traces.max(1)),
        );
        // A frame begins where its elder siblings end; they come first, in the order of the map.
        let mut filled: BTreeMap<Vec<String>, f64> = BTreeMap::new();
        for (stack, nanos) in &frames {
            let parent = stack[..stack.len() - 1].to_vec();
            let wide = *nanos as f64 / total.max(1) as f64 * width;
            let start = *filled.entry(parent.clone()).or_insert(0.0);
            filled.insert(parent, start + wide);
            filled.insert(stack.clone(), start);
            let name = escape(stack.last().map_or("", String::as_str));
            let a_trace = crate::wording::duration(nanos / self.traces.max(1));
            let part = 100.0 * *nanos as f64 / total.max(1) as f64;
            let y = 24.0 + row * (stack.len() - 1) as f64;
            let hue = stack.last().map_or(0, |frame| {
                let service = frame.split(": ").next().unwrap_or("");
                service.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) % 360
            });
            let shown: String = name.chars().take((wide / 6.5) as usize).collect();
            // A name that was cut in the middle of an escape would not be valid.
            let shown = shown
                .rsplit_once('&')
                .map_or(shown.as_str(), |(whole, rest)| if rest.contains(';') { shown.as_str() } else { whole });
            let _ = writeln!(
                out,
                "<g><title>{name}: {a_trace} a trace, {part:.1} %</title><rect x=\"{start:.1}\" y=\"{y}\" \
                 width=\"{:.1}\" height=\"{}\" fill=\"hsl({hue} 55% 72%)\"/><text x=\"{:.1}\" y=\"{}\">{shown}</text></g>",
                wide.max(0.3),
                row - 1.0,
                start + 3.0,
                y + 13.0,
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical_path::testing::{TraceBuilder, kind::*};

    #[test]
    fn stacks_hold_the_whole_critical_path_once() {
        let mut flame = Flame::default();
        for id in 1..=2 {
            let mut builder = TraceBuilder::new(id);
            let root = builder.span(0, "a", "GET <x>;y", SERVER, 0, 100_000);
            builder.span(root, "a", "short", INTERNAL, 10_000, 20_000);
            builder.span(root, "a", "long", CLIENT, 10_000, 80_000);
            flame.add(&builder.build());
        }
        assert_eq!(flame.folded(), "a: GET <x>,y 60\na: GET <x>,y;a: long 140\n");
        let svg = flame.svg();
        assert!(svg.contains("GET &lt;x&gt;,y: 100 µs a trace, 100.0 %"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
    }
}
