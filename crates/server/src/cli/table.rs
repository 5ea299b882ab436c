//! Text for terminals: widths, times, tables.

use crate::output::{terminal_columns, visible};

/// Nobody sees how long the lines of a pipe are, and what is cut off cannot be found in it.
const PIPE_COLUMNS: usize = 10_000;
/// A picture needs some width.
const PICTURE_COLUMNS: usize = 100;

/// Columns for lines of text: of the terminal, or of `COLUMNS`; in a pipe more than anything takes.
pub(super) fn width() -> usize {
    columns().unwrap_or(PIPE_COLUMNS)
}

/// Columns for what is drawn to scale.
pub(super) fn picture_width() -> usize {
    columns().unwrap_or(PICTURE_COLUMNS)
}

fn columns() -> Option<usize> {
    let wanted = std::env::var("COLUMNS").ok().and_then(|text| text.parse::<usize>().ok());
    // A terminal of no width does not know it.
    wanted.or_else(terminal_columns).filter(|columns| *columns > 0).map(|columns| columns.max(40))
}

/// A moment, given as the API writes it, in UTC to the millisecond.
pub(super) fn moment(unix_nano: &str) -> String {
    let nanos: i128 = unix_nano.parse().unwrap_or(0);
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(|_| unix_nano.to_owned(), |time| format!("{time:.3}"))
}

/// A text in at most `width` columns, the end replaced by an ellipsis.
pub(super) fn fit(text: &str, width: usize) -> String {
    let plain = visible(text);
    if plain.chars().count() <= width {
        return plain.into_owned();
    }
    let mut out: String = plain.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// A text in lines of at most `width` columns, broken between words; a word that is longer is broken itself.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut taken = 0;
    for word in visible(text).split_whitespace() {
        let mut letters: Vec<char> = word.chars().collect();
        if taken > 0 && taken + 1 + letters.len() > width {
            lines.push(String::new());
            taken = 0;
        }
        let line = lines.last_mut().expect("there is always one");
        if taken > 0 {
            line.push(' ');
            taken += 1;
        }
        while taken + letters.len() > width {
            let rest = letters.split_off(width.max(1));
            lines.last_mut().expect("there is always one").extend(letters);
            lines.push(String::new());
            letters = rest;
        }
        taken += letters.len();
        lines.last_mut().expect("there is always one").extend(letters);
    }
    lines
}

/// A text padded or cut to exactly `width` columns.
pub(super) fn cell(text: &str, width: usize) -> String {
    let text = fit(text, width);
    let missing = width - text.chars().count();
    text + &" ".repeat(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("a 123456789 b", 4), ["a", "1234", "5678", "9 b"]);
        assert_eq!(wrap("a\u{1b}[31m b", 11), ["a\\u{1b}[31m", "b"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn texts_fit_and_show_control_characters() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(cell("a\u{1b}[31mb", 8), "a\\u{1b}…");
        assert_eq!(cell("a\u{1b}[31mb", 14), "a\\u{1b}[31mb  ");
        assert_eq!(cell("日本", 4).chars().count(), 4);
    }
}
