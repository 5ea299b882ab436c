//! Times and durations as people write them.

const MICRO: u128 = 1_000;
const MILLI: u128 = 1_000_000;
const SECOND: u128 = 1_000_000_000;

/// A moment as Unix nanoseconds: Unix nanoseconds, RFC 3339, `now`, or a duration before now: `-15m`.
pub(crate) fn parse_moment(text: &str, now_unix_nano: u64) -> Result<u64, String> {
    if text == "now" {
        return Ok(now_unix_nano);
    }
    if let Some(before) = text.strip_prefix('-') {
        return Ok(now_unix_nano.saturating_sub(parse_duration(before)?));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return text.parse().map_err(|_| format!("{text} is more nanoseconds than a 64-bit number holds"));
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| {
        format!("{text:?} is not a time: use Unix nanoseconds, RFC 3339, now, or a duration before now like -15m")
    })?;
    u64::try_from(moment.as_nanosecond()).map_err(|_| format!("{text:?} is before 1970"))
}

/// A duration in nanoseconds: numbers with units, like `150us`, `1.5s` or `1m30s`. Exact: no floating point.
pub(crate) fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a duration: use a number and a unit (ns, us, ms, s, m, h, d), like 1.5s");
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_nanos = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => MICRO,
            "ms" => MILLI,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => 86_400 * SECOND,
            _ => return Err(wrong()),
        };
        nanos += scaled(number, unit_nanos).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    u64::try_from(nanos).map_err(|_| format!("{text:?} is longer than 64-bit nanoseconds hold"))
}

/// A decimal number times a unit, rounded down. Twenty digits are more than any duration in range needs.
fn scaled(number: &str, unit_nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let short = |digits: &str| digits.len() <= 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !short(whole) || !short(fraction) {
        return None;
    }
    let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let fraction_nanos = parse(fraction)?.checked_mul(unit_nanos)? / 10u128.pow(fraction.len() as u32);
    parse(whole)?.checked_mul(unit_nanos)?.checked_add(fraction_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        for (text, nanos) in [
            ("150us", 150_000),
            ("150µs", 150_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("1m30s", 90_000_000_000),
            ("0.000000001s", 1),
            ("0s", 0),
            (".5ms", 500_000),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_so() {
        for text in
            ["", "5", "s", "-5s", "1.2.3s", "5 s", "1e3s", "9999999999999999999d", "111111111111111111111s", "٣s"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_read_in_every_form() {
        let now = 1_700_000_000_000_000_000;
        for (text, nanos) in [
            ("now", now),
            ("-15m", now - 900_000_000_000),
            ("1700000000123456789", 1_700_000_000_123_456_789),
            ("2023-11-14T22:13:20Z", now),
            ("2023-11-14T23:13:20.000000001+01:00", now + 1),
            ("-100000d", 0),
        ] {
            assert_eq!(parse_moment(text, now), Ok(nanos), "{text}");
        }
        for text in ["", "yesterday", "-", "1700000000.5", "99999999999999999999", "1950-01-01T00:00:00Z"] {
            assert!(parse_moment(text, now).is_err(), "{text}");
        }
    }
}
