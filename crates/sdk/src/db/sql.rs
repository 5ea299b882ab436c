//! What of an SQL text may be recorded, and what it is about.

/// The text with every literal replaced by `?`, as the semantic conventions demand of texts that may contain values, and
/// without comments, which may contain anything.
pub(super) fn without_literals(sql: &str, quotes_are_strings: bool) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\'' => quoted(rest, '\''),
            '"' if quotes_are_strings => quoted(rest, '"'),
            '$' => dollar_quoted(rest),
            '0'..='9'
                if !out
                    .ends_with(|last: char| last.is_alphanumeric() || matches!(last, '_' | '$' | ':' | '?' | '@')) =>
            {
                number(rest)
            }
            '-' if rest.starts_with("--") => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                out.push(' ');
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.split_once("*/").map_or("", |(_, after)| after);
                out.push(' ');
                continue;
            }
            _ => 0,
        };
        if taken > 0 {
            out.push('?');
            rest = &rest[taken..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Bytes of the string that begins here; to the end when it is not closed. A doubled quote is part of it, and so is one
/// after a backslash: where that is wrong, too much is taken rather than too little.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == '\\' {
            chars.next();
        } else if char == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return at + 1,
            }
        }
    }
    text.len()
}

/// PostgreSQL's `$tag$ ... $tag$`; 0 when this is a placeholder such as `$1`.
fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$').map(|at| at + 2) else { return 0 };
    let tag = &text[..end];
    let name = &tag[1..tag.len() - 1];
    if name.starts_with(|first: char| first.is_ascii_digit()) || !name.chars().all(|c| c.is_alphanumeric() || c == '_')
    {
        return 0;
    }
    text[end..].find(tag).map_or(text.len(), |at| end + at + tag.len())
}

fn number(text: &str) -> usize {
    text.find(|char: char| !char.is_ascii_alphanumeric() && char != '.').unwrap_or(text.len())
}

const OPERATIONS: [&str; 20] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "REPLACE",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "SHOW",
    "EXPLAIN",
    "PRAGMA",
    "CALL",
];

/// What the statement does, and the table it does it to, as far as its beginning tells.
pub(super) fn summary(sql: &str) -> (&'static str, Option<&str>) {
    let is_name = |char: char| char.is_alphanumeric() || matches!(char, '_' | '.' | '"' | '`' | '[' | ']');
    let mut words = sql.split(|char: char| !is_name(char)).filter(|word| !word.is_empty()).peekable();
    let known = |word: &str| OPERATIONS.into_iter().find(|operation| operation.eq_ignore_ascii_case(word));
    let is = |word: &str, keyword: &str| word.eq_ignore_ascii_case(keyword);
    let first = words.next().unwrap_or_default();
    // The statement behind a common table expression is the first one that is known and not inside it; its beginning
    // does not tell which, so only the operation of the whole is named.
    let Some(operation) = known(first) else { return (if is(first, "WITH") { "WITH" } else { "QUERY" }, None) };
    let before_table: &[&str] = match operation {
        "SELECT" | "DELETE" => &["FROM"],
        "INSERT" | "REPLACE" | "MERGE" => &["INTO"],
        "UPDATE" => &["UPDATE"],
        "CREATE" | "ALTER" | "DROP" | "TRUNCATE" => &["TABLE"],
        _ => return (operation, None),
    };
    let mut words = std::iter::once(first).chain(words);
    let found = words.any(|word| before_table.iter().any(|keyword| is(word, keyword)));
    let filler = ["IF", "NOT", "EXISTS", "ONLY", "OR", "IGNORE"];
    let table = words.find(|word| !filler.iter().any(|filler| is(word, filler))).filter(|_| found);
    let table = table.map(|table| table.trim_matches(['"', '`', '[', ']']));
    // `FROM (SELECT ...)` names no table.
    (operation, table.filter(|table| !table.is_empty() && known(table).is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_literal_is_left() {
        for (sql, expected) in [
            ("SELECT * FROM t1 WHERE a = 'it''s' AND b=12.5e3", "SELECT * FROM t1 WHERE a = ? AND b=?"),
            ("SELECT $1, ?2, :3, @v4, t.c5", "SELECT $1, ?2, :3, @v4, t.c5"),
            ("SELECT 'never closed", "SELECT ?"),
            (r"SELECT 'a\'b', 1", "SELECT ?, ?"),
            ("SELECT $$it's$$, $x$ $$ $x$", "SELECT ?, ?"),
            ("SELECT 1 -- password\n+ 0x1F /* secret */", "SELECT ?  + ?  "),
            ("SELECT \"name\" FROM \"t\"", "SELECT \"name\" FROM \"t\""),
            ("SELECT 'ü' || 'é'", "SELECT ? || ?"),
            ("", ""),
        ] {
            assert_eq!(without_literals(sql, false), expected, "{sql}");
        }
        assert_eq!(without_literals("SELECT \"secret\"", true), "SELECT ?");
    }

    #[test]
    fn statements_are_summed_up() {
        for (sql, expected) in [
            ("select id, title from images where id = ?", ("SELECT", Some("images"))),
            ("INSERT INTO \"public\".\"images\" VALUES (1)", ("INSERT", Some("public\".\"images"))),
            ("UPDATE ONLY images SET a = 1", ("UPDATE", Some("images"))),
            ("DELETE FROM images", ("DELETE", Some("images"))),
            ("CREATE TABLE IF NOT EXISTS images (id int)", ("CREATE", Some("images"))),
            ("SELECT 1", ("SELECT", None)),
            ("SELECT * FROM (SELECT 1)", ("SELECT", None)),
            ("  BEGIN", ("BEGIN", None)),
            ("WITH x AS (SELECT 1) SELECT * FROM x", ("WITH", None)),
            ("frobnicate", ("QUERY", None)),
            ("", ("QUERY", None)),
        ] {
            assert_eq!(summary(sql), expected, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(sql in "\\PC{0,60}", marks in "['\"$\\\\/*\\- 0-9a]{0,40}") {
            for sql in [sql, marks] {
                without_literals(&sql, true);
                summary(&sql);
            }
        }
    }
}
