//! The critical paths of many traces as one flame graph (Gregg, "The Flame Graph", CACM 2016): how wide a frame is says how
//! long requests waited for it.

use std::collections::BTreeMap;
use std::fmt::Write;

use tracewell_model::{SpanRef, Trace};

use crate::critical_path::path_nanos_on;
use crate::outline::Outline;
use crate::timeline::Timeline;

/// Deeper calls count for the last frame that is shown: nobody reads on, and each line of folded stacks repeats all above.
const MOST_FRAMES: usize = 256;
/// Frames that are narrower, in pixels, are not drawn.
const LEAST_WIDTH: f64 = 0.1;
const WIDTH: f64 = 1_200.0;
const ROW_HEIGHT: f64 = 18.0;
const LETTER_WIDTH: f64 = 6.5;

/// Call paths with the nanoseconds of critical path that are theirs, summed over traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flame {
    frames: Vec<Frame>,
    /// The first frames, by what they say.
    roots: BTreeMap<String, usize>,
    traces: u64,
}

/// A call path: one frame, and those above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Frame {
    depth: usize,
    own_nanos: u64,
    children: BTreeMap<String, usize>,
}

impl Flame {
    /// Adds the critical path of a trace.
    pub fn add(&mut self, trace: &Trace) {
        self.traces += 1;
        let outline = Outline::of(trace);
        let timeline = Timeline::corrected(&outline);
        let nanos = path_nanos_on(&outline, &timeline);
        // A path that nothing lies on is no frame, unless it leads to one.
        let mut leads_on: Vec<bool> = nanos.iter().map(|nanos| *nanos > 0).collect();
        for row in outline.order.iter().rev() {
            if let Some(parent) = trace.parent(*row) {
                leads_on[parent] |= leads_on[*row];
            }
        }
        let mut frames: Vec<Option<usize>> = vec![None; trace.len()];
        for row in outline.order.iter().copied().filter(|row| leads_on[*row]) {
            let above = trace.parent(row).and_then(|parent| frames[parent]);
            let frame = match above {
                Some(above) if self.frames[above].depth == MOST_FRAMES => above,
                above => self.frame(above, trace.span(row)),
            };
            self.frames[frame].own_nanos = self.frames[frame].own_nanos.saturating_add(nanos[row]);
            frames[row] = Some(frame);
        }
    }

    fn frame(&mut self, above: Option<usize>, span: SpanRef<'_>) -> usize {
        let says = format!("{}: {}", span.service(), span.name()).replace([';', '\n'], ",");
        let next = self.frames.len();
        let (depth, siblings) = match above {
            Some(above) => (self.frames[above].depth + 1, &mut self.frames[above].children),
            None => (1, &mut self.roots),
        };
        let frame = *siblings.entry(says).or_insert(next);
        if frame == next {
            self.frames.push(Frame { depth, ..Frame::default() });
        }
        frame
    }

    /// Every frame with what it says, each before those below it, siblings in the order of what they say.
    fn in_order(&self) -> Vec<(&str, usize)> {
        let mut order = Vec::with_capacity(self.frames.len());
        let mut open: Vec<(&str, usize)> =
            self.roots.iter().rev().map(|(says, frame)| (says.as_str(), *frame)).collect();
        while let Some((says, frame)) = open.pop() {
            order.push((says, frame));
            open.extend(self.frames[frame].children.iter().rev().map(|(says, frame)| (says.as_str(), *frame)));
        }
        order
    }

    /// A line a call path: frames separated by `;`, a space, microseconds. What flame graph programs read.
    pub fn folded(&self) -> String {
        let mut out = String::new();
        let mut stack: Vec<&str> = Vec::new();
        for (says, frame) in self.in_order() {
            let Frame { depth, own_nanos, .. } = self.frames[frame];
            stack.truncate(depth - 1);
            stack.push(says);
            if own_nanos > 0 {
                let _ = writeln!(out, "{} {}", stack.join(";"), own_nanos.div_ceil(1_000));
            }
        }
        out
    }

    /// A picture that needs nothing but itself. Each frame's tooltip says what it is and what it takes a trace.
    pub fn svg(&self) -> String {
        let order = self.in_order();
        let mut nanos: Vec<u64> = self.frames.iter().map(|frame| frame.own_nanos).collect();
        for (_, frame) in order.iter().rev() {
            let below = self.frames[*frame].children.values().map(|child| nanos[*child]);
            nanos[*frame] = below.fold(nanos[*frame], u64::saturating_add);
        }
        let total: u64 = self.roots.values().map(|root| nanos[*root]).fold(0, u64::saturating_add);
        let pixels = |nanos: u64| nanos as f64 / total.max(1) as f64 * WIDTH;
        let is_drawn = |frame: usize| pixels(nanos[frame]) >= LEAST_WIDTH;
        let deepest =
            order.iter().filter(|(_, frame)| is_drawn(*frame)).map(|(_, frame)| self.frames[*frame].depth).max();
        let height = ROW_HEIGHT * deepest.unwrap_or(0) as f64 + 30.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
             font-size=\"11\"><text x=\"4\" y=\"16\">Critical path of {} traces, {} each on average</text>\n",
            self.traces,
            crate::wording::duration(total / self.traces.max(1)),
        );
        // A frame begins where its elder siblings end; they come first.
        let mut filled = vec![0.0; MOST_FRAMES + 1];
        for (says, frame) in order {
            let depth = self.frames[frame].depth;
            let (start, width) = (filled[depth - 1], pixels(nanos[frame]));
            filled[depth - 1] += width;
            filled[depth] = start;
            if !is_drawn(frame) {
                continue;
            }
            let name = escape(says);
            let a_trace = crate::wording::duration(nanos[frame] / self.traces.max(1));
            let part = 100.0 * nanos[frame] as f64 / total.max(1) as f64;
            let y = 24.0 + ROW_HEIGHT * (depth - 1) as f64;
            let service = says.split(": ").next().unwrap_or("");
            let hash = |hash: u32, byte: u8| hash.wrapping_mul(31).wrapping_add(u32::from(byte));
            let hue = service.bytes().fold(7u32, hash) % 360;
            let _ = writeln!(
                out,
                "<g><title>{name}: {a_trace} a trace, {part:.1} %</title><rect x=\"{start:.1}\" y=\"{y}\" \
                 width=\"{width:.1}\" height=\"{}\" fill=\"hsl({hue} 55% 72%)\"/><text x=\"{:.1}\" y=\"{}\">{}</text></g>",
                ROW_HEIGHT - 1.0,
                start + 3.0,
                y + 13.0,
                escape(&cut(says, (width / LETTER_WIDTH) as usize)),
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

/// As much of a text as fits into so many letters.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    match letters {
        0..3 => String::new(),
        _ => text.chars().take(letters - 1).chain(['…']).collect(),
    }
}

/// Text of XML. Characters that XML 1.0 forbids are replaced, and so are all controls and those that turn the direction of
/// what follows, which a name could use to pretend to be another.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}')
            }
            '\u{fffe}'..='\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
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

    #[test]
    fn calls_deeper_than_anybody_reads_count_for_the_last_frame() {
        let mut builder = TraceBuilder::default();
        let mut parent = 0;
        for depth in 0..10_000 {
            parent = builder.span(parent, "a", "again", SERVER, depth, 30_000 - depth);
        }
        let mut flame = Flame::default();
        flame.add(&builder.build());
        assert_eq!(flame.frames.len(), MOST_FRAMES);
        assert_eq!(flame.frames.iter().map(|frame| frame.own_nanos).sum::<u64>(), 30_000);
        assert_eq!(flame.folded().lines().count(), MOST_FRAMES);
        assert!(flame.svg().ends_with("</svg>\n"));
    }

    #[test]
    fn a_picture_holds_no_character_that_xml_forbids() {
        let mut builder = TraceBuilder::new(1);
        builder.span(0, "a\u{1b}\u{202e}", "b\u{0}\u{8}\r\u{9b}\u{7f}\u{fffe}\u{ffff}日本", SERVER, 0, 100_000);
        let mut flame = Flame::default();
        flame.add(&builder.build());
        let svg = flame.svg();
        assert!(svg.contains(&format!("<title>a\u{fffd}\u{fffd}: b{}日本: ", "\u{fffd}".repeat(7))), "{svg}");
        assert!(svg.chars().all(|c| c == '\n' || !c.is_control() && !('\u{fffe}'..='\u{ffff}').contains(&c)), "{svg}");
    }

    #[test]
    fn names_that_do_not_fit_say_so() {
        assert_eq!(cut("gallery: GET", 12), "gallery: GET");
        assert_eq!(cut("gallery: GET", 8), "gallery…");
        assert_eq!(cut("gallery: GET", 2), "");
    }
}
