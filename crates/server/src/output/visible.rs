//! Characters that a terminal acts on instead of showing, made visible.
//!
//! Names, attributes and messages are chosen by senders. Printed as they are, they could clear the screen, set the title,
//! forge lines or reverse the order of what is read.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character has no glyph of its own: controls (C0, DEL, C1), separators of lines and paragraphs, every format
/// character of Unicode (zero-width, direction, tags), fillers that look like nothing, and
/// what Unicode says is no character.
pub(crate) fn is_hidden(c: char) -> bool {
    match c {
        ' '..='~' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        _ => {
            matches!(
                c,
                '\u{ad}'
                    | '\u{34f}'
                    | '\u{600}'..='\u{605}'
                    | '\u{61c}'
                    | '\u{6dd}'
                    | '\u{70f}'
                    | '\u{890}'..='\u{891}'
                    | '\u{8e2}'
                    | '\u{115f}'..='\u{1160}'
                    | '\u{17b4}'..='\u{17b5}'
                    | '\u{180b}'..='\u{180f}'
                    | '\u{200b}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}'
                    | '\u{3164}'
                    | '\u{feff}'
                    | '\u{fdd0}'..='\u{fdef}'
                    | '\u{ffa0}'
                    | '\u{fff0}'..='\u{fffb}'
                    | '\u{110bd}'
                    | '\u{110cd}'
                    | '\u{13430}'..='\u{1343f}'
                    | '\u{1bca0}'..='\u{1bca3}'
                    | '\u{1d173}'..='\u{1d17a}'
                    | '\u{e0000}'..='\u{e0fff}'
            ) || matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
        }
    }
}

/// A text in which each hidden character is shown as `\u{..}`. Line feeds are hidden characters, too: a text is one line.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, |out, c| {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    })
}

/// The same for text of several lines: a line feed stays one, and what follows is indented, so that no text can begin a
/// line that looks like the program's own.
pub(crate) fn visible_lines(text: &str) -> String {
    text.trim_end_matches('\n').split('\n').map(visible).collect::<Vec<_>>().join("\n  ")
}

/// Text that the program has coloured itself: everything hidden is shown but line feeds and colours (`ESC [ .. m`).
pub(crate) fn visible_styled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(is_hidden) {
        out.push_str(&rest[..place]);
        rest = &rest[place..];
        let kept = if rest.starts_with('\n') { 1 } else { colour_len(rest) };
        if kept > 0 {
            out.push_str(&rest[..kept]);
            rest = &rest[kept..];
        } else {
            let len = rest.chars().next().map_or(0, char::len_utf8);
            out.push_str(&visible(&rest[..len]));
            rest = &rest[len..];
        }
    }
    out.push_str(rest);
    out
}

/// JSON with its hidden characters written as `\uXXXX`, which is the same JSON. Line feeds stand between values only, and stay.
pub(crate) fn visible_json(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| c != '\n' && is_hidden(c),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let Some(first) = text.find(&is_escaped) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_escaped(c) {
            escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Length of the colour that a text begins with, 0 if it begins with something else.
fn colour_len(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return 0 };
    let len = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters.as_bytes().get(len) == Some(&b'm') { 2 + len + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind: C0, DEL, C1, direction, zero-width, separators, fillers, tags.
    const HOSTILE: &str = "a\u{1b}]0;t\u{7}\r\u{8}\t\n\u{7f}\u{9b}\u{90}\u{202e}\u{2066}\u{61c}\u{200b}\u{feff}\u{2028}\u{ad}\u{3164}\u{e0041}z";

    #[test]
    fn hidden_characters_are_shown_and_all_others_are_as_they_were() {
        let shown = visible(HOSTILE);
        assert!(!shown.chars().any(is_hidden), "{shown}");
        assert!(shown.starts_with("a\\u{1b}]0;t\\u{7}\\u{d}\\u{8}\\u{9}\\u{a}\\u{7f}\\u{9b}"), "{shown}");
        assert!(shown.ends_with("\\u{e0041}z"), "{shown}");
        for plain in ["GET /images/{id}", "größe → 日本 नमस्ते e\u{301} ❤\u{fe0f}", "\\u{1b}", ""] {
            assert!(matches!(visible(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let json = serde_json::to_string_pretty(&serde_json::json!({ HOSTILE: [HOSTILE, "日本"] })).unwrap();
        let shown = visible_json(&json);
        assert!(!shown.chars().any(|c| c != '\n' && is_hidden(c)), "{shown}");
        assert!(shown.contains("\\u009b") && shown.contains("\\udb40\\udc41") && shown.contains("日本"), "{shown}");
        let [before, after] = [&json, &*shown].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(before, after);
    }

    #[test]
    fn no_text_begins_a_line_of_its_own() {
        assert_eq!(visible_lines("one\nerror: forged\n\u{1b}[2J\n"), "one\n  error: forged\n  \\u{1b}[2J");
        assert_eq!(visible_lines(""), "");
    }

    #[test]
    fn colours_stay_and_other_sequences_do_not() {
        assert_eq!(
            visible_styled("\u{1b}[1;31mred\u{1b}[0m\n\u{1b}[2J \u{1b}[m \u{1b}]0;t\u{7}\u{1b}"),
            "\u{1b}[1;31mred\u{1b}[0m\n\\u{1b}[2J \u{1b}[m \\u{1b}]0;t\\u{7}\\u{1b}"
        );
    }
}
