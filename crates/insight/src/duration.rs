//! Durations as people read them, in sentences, tables and pictures.

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// A duration in three significant digits, without zeros that say nothing: `2 s`, `1.25 s`, `95 ms`, `2 m 3 s`,
/// `1 h 30 m`. The pages write it the same way: `ui/src/trace/format.ts`.
pub fn duration(nanos: f64) -> String {
    let whole = nanos.abs().round() as u64;
    let sign = if nanos < 0.0 && whole > 0 { "-" } else { "" };
    // Whole numbers are rounded, so that what is rounded up to a unit is written in it: 999.6 µs are 1 ms.
    let unit = 10_u64.pow(whole.max(1).ilog10().saturating_sub(2));
    let rounded = rounded_to(whole, unit) * unit;
    if rounded < 120 * SECOND {
        let (unit, name) = match rounded {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..SECOND => (1_000_000, "ms"),
            _ => (SECOND, "s"),
        };
        return format!("{sign}{} {name}", rounded as f64 / unit as f64);
    }
    let seconds = rounded_to(whole, SECOND);
    if seconds < 3600 {
        return format!("{sign}{}", parts(seconds, "m", "s"));
    }
    format!("{sign}{}", parts(rounded_to(whole, 60 * SECOND), "h", "m"))
}

fn rounded_to(nanos: u64, unit: u64) -> u64 {
    nanos / unit + u64::from(nanos % unit >= unit.div_ceil(2) && unit > 1)
}

fn parts(sixtieths: u64, unit: &str, smaller: &str) -> String {
    let (whole, rest) = (sixtieths / 60, sixtieths % 60);
    if rest == 0 { format!("{whole} {unit}") } else { format!("{whole} {unit} {rest} {smaller}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_the_pages_write_them() {
        let examples = include_str!("durations.tsv").lines().skip(1).map(|line| line.split_once('\t').unwrap());
        let mut seen = 0;
        for (nanos, text) in examples {
            assert_eq!(duration(nanos.parse().unwrap()), text, "{nanos} ns");
            seen += 1;
        }
        assert!(seen > 30, "{seen} examples");
    }

    #[test]
    fn the_longest_and_the_impossible_are_written_too() {
        assert_eq!(duration(u64::MAX as f64), "5124095 h 35 m");
        assert_eq!(duration(f64::INFINITY), "5124095 h 35 m");
        assert_eq!(duration(f64::NAN), "0 ns");
    }
}
